/* What the guest says of itself, checked field by field. */
#include "config.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "qmp/agent-private.h"

enum {
    NICS_AT_MOST = 64,
    ADDRESSES_AT_MOST = 256, /* of one NIC */
    NAME_AT_MOST = 15,       /* the kernel's */
    LOAD_THOUSANDTHS = 1000,
};

void
lodge_agent_info_free(LodgeAgentInfo *info)
{
    if (info == NULL) {
        return;
    }
    g_free(info->agent_version);
    g_free(info->hostname);
    g_free(info->os_id);
    g_free(info->os_version);
    g_free(info->os_name);
    g_free(info->kernel);
    g_free(info->boot_id);
    g_free(info);
}

static char **
text_member(LodgeAgentInfo *info, guint8 tag)
{
    switch (tag) {
    case FIELD_VERSION:
        return &info->agent_version;
    case FIELD_HOSTNAME:
        return &info->hostname;
    case FIELD_OS_ID:
        return &info->os_id;
    case FIELD_OS_VERSION:
        return &info->os_version;
    case FIELD_OS_NAME:
        return &info->os_name;
    case FIELD_KERNEL:
        return &info->kernel;
    case FIELD_BOOT_ID:
        return &info->boot_id;
    default: /* a guest's byte */
        return NULL;
    }
}

static guint64 *
number_member(LodgeAgentInfo *info, guint8 tag)
{
    switch (tag) {
    case FIELD_UPTIME_MS:
        return &info->uptime_ms;
    case FIELD_MEMORY_TOTAL:
        return &info->memory_total;
    case FIELD_MEMORY_AVAILABLE:
        return &info->memory_available;
    case FIELD_MEMORY_FREE:
        return &info->memory_free;
    case FIELD_SWAP_TOTAL:
        return &info->swap_total;
    case FIELD_SWAP_FREE:
        return &info->swap_free;
    default: /* a guest's byte */
        return NULL;
    }
}

/* FALSE if it should be a number and is none. */
static gboolean
take_info_field(LodgeAgentInfo *info, const Field *field)
{
    char **text = text_member(info, field->tag);
    guint64 *target = number_member(info, field->tag);
    guint64 number = 0;
    if (text != NULL) {
        g_free(*text);
        *text = agent_field_text(field);
        return TRUE;
    }
    if (target != NULL) {
        return field_number(field, target);
    }
    if (field->tag == FIELD_LOAD || field->tag == FIELD_USERS) {
        if (!field_number(field, &number) || number > G_MAXUINT32) {
            return FALSE;
        }
        if (field->tag == FIELD_LOAD) {
            info->load = (double)number / LOAD_THOUSANDTHS;
        } else {
            info->users = (guint)number;
        }
    }
    return TRUE;
}

LodgeAgentInfo *
agent_parse_info(FieldReader *fields, GError **error)
{
    g_autoptr(LodgeAgentInfo) info = g_new0(LodgeAgentInfo, 1);
    Field field;
    int got;
    gboolean fine = TRUE;
    while (fine && (got = field_next(fields, &field)) > 0) {
        fine = take_info_field(info, &field);
    }
    if (!fine || got < 0) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "what the guest says of itself is malformed");
        return NULL;
    }
    return g_steal_pointer(&info);
}

/* --- NICs ------------------------------------------------------------------------------------ */

/* A NIC while its addresses come. */
typedef struct {
    LodgeAgentNic *nic;
    GPtrArray *addresses;
} Building;

static void
nic_free(gpointer data)
{
    LodgeAgentNic *nic = data;
    g_free(nic->name);
    g_free(nic->mac);
    g_strfreev(nic->addresses);
    g_free(nic);
}

static gboolean
is_mac(const char *text)
{
    for (gsize i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !g_ascii_isxdigit(text[i])) {
            return FALSE;
        }
    }
    return text[17] == '\0';
}

static gboolean
is_address(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 2);
    guint8 bytes[16];
    guint64 prefix;
    if (g_strv_length(parts) != 2) {
        return FALSE;
    }
    guint64 longest = inet_pton(AF_INET, parts[0], bytes) == 1    ? 32
                      : inet_pton(AF_INET6, parts[0], bytes) == 1 ? 128
                                                                  : 0;
    return longest > 0 && g_ascii_string_to_unsigned(parts[1], 10, 0, longest, &prefix, NULL);
}

static void
finish_nic(Building *building, GPtrArray *nics)
{
    if (building->nic != NULL) {
        g_ptr_array_add(building->addresses, NULL);
        building->nic->addresses = (char **)g_ptr_array_free(g_steal_pointer(&building->addresses),
                                                             FALSE);
        g_ptr_array_add(nics, g_steal_pointer(&building->nic));
    }
}

static gboolean
begin_nic(Building *building, GPtrArray *nics, const Field *field)
{
    g_autofree char *name = agent_field_text(field);
    finish_nic(building, nics);
    if (nics->len >= NICS_AT_MOST || name == NULL || strlen(name) > NAME_AT_MOST) {
        return FALSE;
    }
    building->nic = g_new0(LodgeAgentNic, 1);
    building->nic->name = g_steal_pointer(&name);
    building->addresses = g_ptr_array_new_with_free_func(g_free);
    return TRUE;
}

static gboolean
take_nic_field(Building *building, GPtrArray *nics, const Field *field)
{
    guint64 number = 0;
    if (field->tag == FIELD_NIC) {
        return begin_nic(building, nics, field);
    }
    if (building->nic == NULL) {
        return FALSE;
    }
    g_autofree char *text = agent_field_text(field);
    switch (field->tag) {
    case FIELD_MAC:
        if (text != NULL && is_mac(text)) {
            g_free(building->nic->mac);
            building->nic->mac = g_steal_pointer(&text);
        }
        return TRUE;
    case FIELD_LINK:
        if (!field_number(field, &number)) {
            return FALSE;
        }
        building->nic->is_up = number == 1;
        return TRUE;
    case FIELD_ADDRESS:
        if (text == NULL || !is_address(text) || building->addresses->len >= ADDRESSES_AT_MOST) {
            return FALSE;
        }
        g_ptr_array_add(building->addresses, g_steal_pointer(&text));
        return TRUE;
    default: /* from a newer agent */
        return TRUE;
    }
}

GPtrArray *
agent_parse_nics(FieldReader *fields, GError **error)
{
    g_autoptr(GPtrArray) nics = g_ptr_array_new_with_free_func(nic_free);
    Building building = {0};
    Field field;
    int got;
    gboolean fine = TRUE;
    while (fine && (got = field_next(fields, &field)) > 0) {
        fine = take_nic_field(&building, nics, &field);
    }
    finish_nic(&building, nics);
    if (!fine || got < 0) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "what the guest says of its NICs is malformed");
        return NULL;
    }
    return g_steal_pointer(&nics);
}
