#include "config.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/base.h"
#include "qmp/guest-agent-private.h"
#include "qmp/wire.h"

#define INFO "guest-info"
#define INTERFACES "guest-network-get-interfaces"

enum {
    SILENCE_MS = 5000,
    NAME_LIMIT_BYTES = 255,
};

static gboolean
succeeded(json_t *result)
{
    gboolean is_there = result != NULL;
    json_decref(result);
    return is_there;
}

gboolean
lodge_guest_agent_ping(LodgeGuestAgent *agent, gint64 deadline, GError **error)
{
    return succeeded(lodge_guest_agent_call(agent, "guest-ping", NULL, deadline, error));
}

gboolean
lodge_guest_agent_info(LodgeGuestAgent *agent, gint64 deadline, char **out_version,
                       char ***out_commands, GError **error)
{
    g_autoptr(json_t) info = lodge_guest_agent_call(agent, INFO, NULL, deadline, error);
    if (info == NULL) {
        return FALSE;
    }
    const char *version = lodge_json_string(info, "version", NULL);
    const json_t *list = json_object_get(info, "supported_commands");
    if (version == NULL || !json_is_array(list)) {
        return lodge_guest_agent_malformed(error, INFO);
    }
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    gsize i;
    const json_t *command;
    json_array_foreach (list, i, command) {
        const char *name = lodge_json_string(command, "name", NULL);
        if (name == NULL) {
            return lodge_guest_agent_malformed(error, INFO);
        }
        if (lodge_json_bool(command, "enabled", TRUE)) {
            g_ptr_array_add(names, lodge_wire_printable(name));
        }
    }
    g_ptr_array_add(names, NULL);
    if (out_version != NULL) {
        *out_version = lodge_wire_printable(version);
    }
    if (out_commands != NULL) {
        *out_commands = (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
    }
    return TRUE;
}

gboolean
lodge_guest_agent_shutdown(LodgeGuestAgent *agent, LodgeGuestShutdown mode, gint64 deadline,
                           GError **error)
{
    static const char *const modes[] = {
        [LODGE_GUEST_SHUTDOWN_POWERDOWN] = "powerdown",
        [LODGE_GUEST_SHUTDOWN_HALT] = "halt",
        [LODGE_GUEST_SHUTDOWN_REBOOT] = "reboot",
    };
    if (!lodge_guest_agent_sync(agent, deadline, error)) {
        return lodge_error_prefix(error, "guest-shutdown");
    }
    return lodge_guest_agent_call_silent(agent, "guest-shutdown",
                                         json_pack("{s:s}", "mode", modes[mode]),
                                         MIN(deadline, lodge_deadline_in(SILENCE_MS)), error);
}

/* An address as the guest wrote it, made canonical; NULL if it is none or not of its family. */
static json_t *
parse_address(const json_t *entry)
{
    const char *family = lodge_json_string(entry, "ip-address-type", "");
    gboolean is_ipv6 = strcmp(family, "ipv6") == 0;
    json_int_t prefix = lodge_json_int(entry, "prefix", -1);
    if ((!is_ipv6 && strcmp(family, "ipv4") != 0) || prefix < 0 || prefix > (is_ipv6 ? 128 : 32)) {
        return NULL;
    }
    /* Windows puts the zone behind. */
    const char *text = lodge_json_string(entry, "ip-address", "");
    g_autofree char *bare = g_strndup(text, MIN(strcspn(text, "%"), INET6_ADDRSTRLEN));
    struct in6_addr address;
    char canonical[INET6_ADDRSTRLEN];
    if (inet_pton(is_ipv6 ? AF_INET6 : AF_INET, bare, &address) != 1) {
        return NULL;
    }
    inet_ntop(is_ipv6 ? AF_INET6 : AF_INET, &address, canonical, sizeof canonical);
    return json_pack("{s:s, s:s, s:I}", "family", family, "address", canonical, "prefix", prefix);
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

static json_t *
parse_interface(const json_t *entry)
{
    const char *name = lodge_json_string(entry, "name", NULL);
    const json_t *list = json_object_get(entry, "ip-addresses");
    if (name == NULL || strlen(name) > NAME_LIMIT_BYTES || (list != NULL && !json_is_array(list))) {
        return NULL;
    }
    g_autofree char *shown = lodge_text_printable(name);
    const char *mac = lodge_json_string(entry, "hardware-address", "");
    g_autoptr(json_t) addresses = json_array();
    gsize i;
    const json_t *address;
    json_array_foreach (list, i, address) {
        json_t *parsed = parse_address(address);
        if (parsed == NULL) {
            return NULL;
        }
        json_array_append_new(addresses, parsed);
    }
    return json_pack("{s:s, s:s?, s:O}", "name", shown, "mac", is_mac(mac) ? mac : NULL,
                     "addresses", addresses);
}

json_t *
lodge_guest_agent_interfaces(LodgeGuestAgent *agent, gint64 deadline, GError **error)
{
    g_autoptr(json_t) list = lodge_guest_agent_call(agent, INTERFACES, NULL, deadline, error);
    if (list == NULL) {
        return NULL;
    }
    g_autoptr(json_t) interfaces = json_is_array(list) ? json_array() : NULL;
    gsize i;
    const json_t *entry;
    json_array_foreach (list, i, entry) {
        if (json_array_append_new(interfaces, parse_interface(entry)) < 0) {
            g_clear_pointer(&interfaces, json_decref);
            break;
        }
    }
    if (interfaces == NULL) {
        lodge_guest_agent_malformed(error, INTERFACES);
    }
    return g_steal_pointer(&interfaces);
}

gboolean
lodge_guest_agent_set_time(LodgeGuestAgent *agent, gint64 deadline, GError **error)
{
    /* First see that it listens, so that the time is not old when it hears it. */
    if (!lodge_guest_agent_sync(agent, deadline, error)) {
        return lodge_error_prefix(error, "guest-set-time");
    }
    return succeeded(lodge_guest_agent_ask(agent, deadline, error, "guest-set-time", "{s:I}",
                                           "time", (json_int_t)(g_get_real_time() * 1000)));
}

static gboolean
call_counting(LodgeGuestAgent *agent, const char *command, gint64 deadline, guint *out_count,
              GError **error)
{
    g_autoptr(json_t) result = lodge_guest_agent_call(agent, command, NULL, deadline, error);
    gint64 count = 0;
    if (result == NULL) {
        return FALSE;
    }
    if (!lodge_guest_agent_integer(result, 0, G_MAXINT32, &count, error)) {
        return lodge_error_prefix(error, "%s", command);
    }
    if (out_count != NULL) {
        *out_count = (guint)count;
    }
    return TRUE;
}

gboolean
lodge_guest_agent_freeze(LodgeGuestAgent *agent, gint64 deadline, guint *out_count, GError **error)
{
    return call_counting(agent, "guest-fsfreeze-freeze", deadline, out_count, error);
}

gboolean
lodge_guest_agent_thaw(LodgeGuestAgent *agent, gint64 deadline, guint *out_count, GError **error)
{
    return call_counting(agent, "guest-fsfreeze-thaw", deadline, out_count, error);
}
