#include "config.h"

#include "qmp/agent-system.h"

#include <string.h>
#include <sys/random.h>

#include "qmp/agent-private.h"

enum {
    ENTROPY_BYTES = 64,
    PARTS_AT_MOST = 256,
};

static gboolean
ask(LodgeAgent *agent, guint8 type, const AgentRequest *request, const char *what, gint64 deadline,
    FieldReader *out_fields, GError **error)
{
    return agent_ask(agent, type, request, deadline, out_fields, error) ||
           lodge_error_prefix(error, "%s", what);
}

static gboolean
number_of(FieldReader fields, guint8 tag, guint64 *out_number)
{
    Field field;
    gboolean found = FALSE;
    while (field_next(&fields, &field) > 0) {
        found |= field.tag == tag && field_number(&field, out_number);
    }
    return found;
}

LodgeAgentInfo *
lodge_agent_info(LodgeAgent *agent, gint64 deadline, GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    FieldReader fields;
    if (!ask(agent, FRAME_INFO, request, "info", deadline, &fields, error)) {
        return NULL;
    }
    LodgeAgentInfo *info = agent_parse_info(&fields, error);
    if (info != NULL && info->agent_version == NULL) {
        info->agent_version = g_strdup(agent->version);
    }
    return info;
}

GPtrArray *
lodge_agent_addresses(LodgeAgent *agent, gint64 deadline, GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    FieldReader fields;
    if (!ask(agent, FRAME_ADDRESSES, request, "addresses", deadline, &fields, error)) {
        return NULL;
    }
    return agent_parse_nics(&fields, error);
}

/* --- Identity -------------------------------------------------------------------------------- */

static void
add_nics(AgentRequest *request, const LodgeAgentNicIdentity *nics)
{
    for (; nics != NULL && nics->nic != NULL; nics++) {
        agent_add_text(request, FIELD_NIC, nics->nic);
        agent_add_text(request, FIELD_MAC, nics->mac);
        agent_add_texts(request, FIELD_ADDRESS, nics->addresses);
        agent_add_texts(request, FIELD_GATEWAY, nics->gateways);
        if (nics->link_up) {
            agent_add_number(request, FIELD_LINK, 1);
        }
        if (nics->dhcp) {
            agent_add_number(request, FIELD_DHCP, 1);
        }
    }
}

static void
add_files(AgentRequest *request, const LodgeAgentFile *files)
{
    for (; files != NULL && files->path != NULL; files++) {
        agent_add_text(request, FIELD_FILE, files->path);
        agent_add_number(request, FIELD_MODE, files->mode);
        agent_add_long(request, FIELD_CONTENT, files->content, files->length);
    }
}

static void
add_system(AgentRequest *request, const LodgeAgentIdentity *identity)
{
    char entropy[ENTROPY_BYTES];
    /* Entropy before all else: what is made next may need it. */
    if (identity->entropy && getrandom(entropy, sizeof entropy, 0) == (gssize)sizeof entropy) {
        agent_add_bytes(request, FIELD_ENTROPY, entropy, sizeof entropy);
    }
    if (identity->clock) {
        agent_add_number(request, FIELD_CLOCK, (guint64)g_get_real_time() * 1000);
    }
    agent_add_text(request, FIELD_HOSTNAME, identity->hostname);
    agent_add_text(request, FIELD_MACHINE_ID, identity->machine_id);
}

/* One part's outcome, as its fields come. */
typedef struct {
    char *part;
    guint64 code;
    char *text;
} Outcome;

static void
outcome_finish(Outcome *outcome, GString *failures, guint64 *first_code)
{
    if (outcome->part != NULL && outcome->code != PROBLEM_NONE) {
        g_string_append_printf(failures, "%s%s: %s", failures->len > 0 ? "; " : "", outcome->part,
                               outcome->text != NULL ? outcome->text : "failed");
        *first_code = *first_code != PROBLEM_NONE ? *first_code : outcome->code;
    }
    g_clear_pointer(&outcome->part, g_free);
    g_clear_pointer(&outcome->text, g_free);
    outcome->code = PROBLEM_NONE;
}

static gboolean
judge_parts(FieldReader *fields, GError **error)
{
    g_autoptr(GString) failures = g_string_new(NULL);
    guint64 first_code = PROBLEM_NONE;
    Outcome outcome = {0};
    Field field;
    guint count = 0;
    while (field_next(fields, &field) > 0 && count < PARTS_AT_MOST) {
        if (field.tag == FIELD_PART) {
            outcome_finish(&outcome, failures, &first_code);
            outcome.part = agent_field_text(&field);
            count++;
        } else if (field.tag == FIELD_CODE) {
            field_number(&field, &outcome.code);
        } else if (field.tag == FIELD_TEXT) {
            g_free(outcome.text);
            outcome.text = agent_field_text(&field);
        }
    }
    outcome_finish(&outcome, failures, &first_code);
    if (failures->len == 0) {
        return TRUE;
    }
    return agent_problem(error, first_code, failures->str);
}

gboolean
lodge_agent_identity(LodgeAgent *agent, const LodgeAgentIdentity *identity, gint64 deadline,
                     GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    FieldReader fields;
    add_system(request, identity);
    if (identity->authorized_keys != NULL) {
        agent_add_text(request, FIELD_KEYS_USER,
                       identity->keys_user != NULL ? identity->keys_user : "root");
        agent_add_long(request, FIELD_KEYS, identity->authorized_keys,
                       strlen(identity->authorized_keys));
    }
    add_files(request, identity->files);
    add_nics(request, identity->nics);
    agent_add_texts(request, FIELD_DNS, identity->dns);
    return (ask(agent, FRAME_IDENTITY, request, "identity", deadline, &fields, error) &&
            judge_parts(&fields, error)) ||
           lodge_error_prefix(error, "Giving the guest its identity");
}

gboolean
lodge_agent_set_time(LodgeAgent *agent, gint64 deadline, GError **error)
{
    return lodge_agent_identity(agent, &(LodgeAgentIdentity){.clock = TRUE}, deadline, error);
}

gboolean
lodge_agent_write_keys(LodgeAgent *agent, const char *user, const char *keys, gint64 deadline,
                       GError **error)
{
    LodgeAgentIdentity identity = {.keys_user = user, .authorized_keys = keys};
    return lodge_agent_identity(agent, &identity, deadline, error);
}

/* --- File systems and power ------------------------------------------------------------------ */

gboolean
lodge_agent_freeze(LodgeAgent *agent, gint64 hold_ms, gint64 deadline, guint *out_count,
                   GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    FieldReader fields;
    guint64 count = 0;
    agent_add_number(request, FIELD_TIMEOUT_MS, (guint64)MAX(hold_ms, 1));
    if (!ask(agent, FRAME_FREEZE, request, "freeze", deadline, &fields, error)) {
        return FALSE;
    }
    if (!number_of(fields, FIELD_COUNT, &count) || count > G_MAXUINT16) {
        return agent_malformed(agent, error);
    }
    if (out_count != NULL) {
        *out_count = (guint)count;
    }
    return TRUE;
}

gboolean
lodge_agent_thaw(LodgeAgent *agent, gint64 deadline, GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    return ask(agent, FRAME_THAW, request, "thaw", deadline, NULL, error);
}

gboolean
lodge_agent_trim(LodgeAgent *agent, gint64 deadline, guint64 *out_bytes, GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    FieldReader fields;
    guint64 bytes = 0;
    if (!ask(agent, FRAME_TRIM, request, "trim", deadline, &fields, error)) {
        return FALSE;
    }
    number_of(fields, FIELD_SIZE, &bytes);
    if (out_bytes != NULL) {
        *out_bytes = bytes;
    }
    return TRUE;
}

gboolean
lodge_agent_sync(LodgeAgent *agent, gint64 deadline, GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    return ask(agent, FRAME_SYNC, request, "sync", deadline, NULL, error);
}

gboolean
lodge_agent_shutdown(LodgeAgent *agent, gboolean reboot, gint64 deadline, GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    agent_add_number(request, FIELD_MODE, reboot ? SHUTDOWN_REBOOT : SHUTDOWN_POWEROFF);
    return ask(agent, FRAME_SHUTDOWN, request, "shutdown", deadline, NULL, error);
}

/* --- Files as such --------------------------------------------------------------------------- */

gboolean
lodge_agent_stat(LodgeAgent *agent, const char *guest_path, gboolean follow, gint64 deadline,
                 LodgeAgentKind *out_kind, guint64 *out_size_bytes, GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    FieldReader fields;
    guint64 kind = 0, size = 0;
    agent_add_text(request, FIELD_PATH, guest_path);
    agent_add_number(request, FIELD_FLAGS, follow ? STAT_FOLLOW : 0);
    if (!agent_ask(agent, FRAME_STAT, request, deadline, &fields, error)) {
        return FALSE;
    }
    if (!number_of(fields, FIELD_KIND, &kind) || kind < KIND_FILE || kind > KIND_OTHER ||
        !number_of(fields, FIELD_SIZE, &size)) {
        return agent_malformed(agent, error);
    }
    if (out_kind != NULL) {
        *out_kind = (LodgeAgentKind)(kind - KIND_FILE); /* the same order */
    }
    if (out_size_bytes != NULL) {
        *out_size_bytes = size;
    }
    return TRUE;
}

gboolean
lodge_agent_mkdir(LodgeAgent *agent, const char *guest_path, mode_t mode, gint64 deadline,
                  GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    agent_add_text(request, FIELD_PATH, guest_path);
    agent_add_number(request, FIELD_MODE, mode);
    return agent_ask(agent, FRAME_MKDIR, request, deadline, NULL, error);
}
