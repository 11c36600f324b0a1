/* IDENTITY: who the guest is, in one message and with no process started. The fields come in any
 * order, but those of one NIC, file or user stand together: such a part is carried out when the
 * next one begins, or at the end. Each part's outcome is reported, whatever became of the others.
 */
#include "agent/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/agent.h"
#include "agent/message.h"
#include "agent/nic.h"
#include "agent/session.h"
#include "agent/settle.h"

typedef struct {
    Message *result;
    bool has_nic;
    bool nic_is_wrong;
    NicOrder nic;
    bool has_file;
    char *file_path; /* NULL: malformed */
    mode_t file_mode;
    Gathered content;
    char *keys_user;
    bool has_keys;
    Gathered keys;
    Gathered resolver;
    bool has_host_keys;
    bool has_machine_id;
} Identity;

static bool
gather(Gathered *gathered, const void *bytes, size_t length)
{
    char *more = realloc(gathered->bytes, gathered->length + length + 1);
    if (more == NULL) {
        return false;
    }
    memcpy(more + gathered->length, bytes, length);
    gathered->bytes = more;
    gathered->length += length;
    return true;
}

static void
gathered_clear(Gathered *gathered)
{
    free(gathered->bytes);
    *gathered = (Gathered){0};
}

static void
report(Identity *identity, const char *part, int problem, const char *what)
{
    char text[256];
    snprintf(text, sizeof text, "%s%s%s", what, *what != '\0' ? ": " : "",
             problem != 0 ? strerror(problem) : "done");
    message_text(identity->result, FIELD_PART, part);
    message_number(identity->result, FIELD_CODE,
                   problem != 0 ? problem_of_errno(problem) : PROBLEM_NONE);
    if (problem != 0) {
        message_text(identity->result, FIELD_TEXT, text);
    }
}

static void
finish_nic(Identity *identity)
{
    char part[96];
    const char *what = "";
    if (!identity->has_nic) {
        return;
    }
    int problem = identity->nic_is_wrong ? EINVAL : nic_apply(&identity->nic, &what);
    snprintf(part, sizeof part, "nic%s%s", identity->nic.chosen[0] != '\0' ? " " : "",
             identity->nic.chosen);
    report(identity, part, problem, problem != 0 ? what : "");
    identity->has_nic = false;
}

static void
finish_file(Identity *identity)
{
    static const char host_keys[] = "/etc/ssh/ssh_host_", dropbear[] = "/etc/dropbear/";
    char part[512];
    if (!identity->has_file) {
        return;
    }
    const char *path = identity->file_path != NULL ? identity->file_path : "";
    int problem = identity_file(path, identity->file_mode, &identity->content);
    snprintf(part, sizeof part, "file %s", path);
    report(identity, part, problem, "");
    identity->has_host_keys |= strncmp(path, host_keys, sizeof host_keys - 1) == 0 ||
                               strncmp(path, dropbear, sizeof dropbear - 1) == 0;
    identity->has_file = false;
    free(identity->file_path);
    identity->file_path = NULL;
    gathered_clear(&identity->content);
}

static void
finish_keys(Identity *identity)
{
    char part[320];
    if (identity->has_keys) {
        const char *user = identity->keys_user != NULL ? identity->keys_user : "root";
        snprintf(part, sizeof part, "keys %.256s", user);
        report(identity, part, identity_keys(user, &identity->keys), "");
    }
    identity->has_keys = false;
    free(identity->keys_user);
    identity->keys_user = NULL;
    gathered_clear(&identity->keys);
}

static void
finish_all(Identity *identity)
{
    finish_nic(identity);
    finish_file(identity);
    finish_keys(identity);
    if (identity->resolver.length > 0) {
        report(identity, "dns", identity_resolver(&identity->resolver), "");
    }
    if (identity->has_host_keys) {
        identity_reload_sshd();
    }
    if (identity->has_machine_id) {
        settle_ask();
    }
    gathered_clear(&identity->resolver);
}

static void
begin_nic(Identity *identity, const Field *field)
{
    finish_nic(identity);
    identity->nic = (NicOrder){.link = -1};
    identity->has_nic = true;
    identity->nic_is_wrong = !field_copy(field, identity->nic.chosen, sizeof identity->nic.chosen);
}

static bool
add_nic_address(NicAddress *addresses, unsigned *count, unsigned most, const char *text)
{
    return *count < most && nic_parse_address(text, &addresses[*count]) && (++*count, true);
}

/* A field of the NIC that began last. */
static void
take_nic_field(Identity *identity, const Field *field)
{
    NicOrder *nic = &identity->nic;
    uint64_t number = 0;
    char text[64] = "";
    bool is_text = field_copy(field, text, sizeof text);
    bool fine = identity->has_nic;
    if (field->tag == FIELD_MAC) {
        fine = fine && is_text && nic_parse_mac(text, nic->mac);
        nic->has_mac = fine;
    } else if (field->tag == FIELD_LINK) {
        fine = fine && field_number(field, &number) && number <= 1;
        nic->link = (int)number;
    } else if (field->tag == FIELD_ADDRESS) {
        fine = fine && is_text &&
               add_nic_address(nic->addresses, &nic->address_count, NIC_ADDRESSES_AT_MOST, text);
    } else if (field->tag == FIELD_GATEWAY) {
        fine = fine && is_text &&
               add_nic_address(nic->gateways, &nic->gateway_count, NIC_GATEWAYS_AT_MOST, text);
    } else {
        nic->dhcp = true;
    }
    identity->nic_is_wrong |= !fine;
}

static void
take_resolver_field(Identity *identity, const Field *field)
{
    char text[256], line[300];
    NicAddress address;
    bool is_server = field->tag == FIELD_DNS;
    if (!field_copy(field, text, sizeof text) || strpbrk(text, "\n#;") != NULL ||
        (is_server && !nic_parse_address(text, &address))) {
        report(identity, "dns", EINVAL, "");
        return;
    }
    int length = snprintf(line, sizeof line, "%s %s\n", is_server ? "nameserver" : "search", text);
    gather(&identity->resolver, line, (size_t)length);
}

static void
take_system_field(Identity *identity, const Field *field)
{
    char text[256];
    uint64_t number = 0;
    bool is_text = field_copy(field, text, sizeof text);
    if (field->tag == FIELD_HOSTNAME) {
        report(identity, "hostname", is_text ? identity_hostname(text) : EINVAL, "");
    } else if (field->tag == FIELD_MACHINE_ID) {
        identity->has_machine_id = true;
        report(identity, "machine-id", is_text ? identity_machine_id(text) : EINVAL, "");
    } else if (field->tag == FIELD_CLOCK) {
        report(identity, "clock", field_number(field, &number) ? identity_clock(number) : EINVAL,
               "");
    } else {
        report(identity, "entropy", identity_entropy(field->value, field->length), "");
    }
}

static void
take_file_field(Identity *identity, const Field *field)
{
    uint64_t mode = 0;
    if (field->tag == FIELD_FILE) {
        finish_file(identity);
        identity->has_file = true;
        identity->file_path = field_text(field);
        identity->file_mode = 0644;
    } else if (!identity->has_file) {
        report(identity, "file", EINVAL, "");
    } else if (field->tag == FIELD_MODE) {
        if (field_number(field, &mode)) {
            identity->file_mode = (mode_t)(mode & 07777);
        }
    } else {
        gather(&identity->content, field->value, field->length);
    }
}

static void
take_keys_field(Identity *identity, const Field *field)
{
    if (field->tag == FIELD_KEYS_USER) {
        finish_keys(identity);
        identity->keys_user = field_text(field);
        return;
    }
    identity->has_keys = true;
    gather(&identity->keys, field->value, field->length);
}

static void
take(Identity *identity, const Field *field)
{
    switch (field->tag) {
    case FIELD_NIC:
        begin_nic(identity, field);
        break;
    case FIELD_MAC:
    case FIELD_LINK:
    case FIELD_ADDRESS:
    case FIELD_GATEWAY:
    case FIELD_DHCP:
        take_nic_field(identity, field);
        break;
    case FIELD_DNS:
    case FIELD_SEARCH:
        take_resolver_field(identity, field);
        break;
    case FIELD_HOSTNAME:
    case FIELD_MACHINE_ID:
    case FIELD_CLOCK:
    case FIELD_ENTROPY:
        take_system_field(identity, field);
        break;
    case FIELD_FILE:
    case FIELD_MODE:
    case FIELD_CONTENT:
        take_file_field(identity, field);
        break;
    case FIELD_KEYS_USER:
    case FIELD_KEYS:
        take_keys_field(identity, field);
        break;
    default:
        report(identity, "unknown", EOPNOTSUPP, "this agent is older than the host");
        break;
    }
}

void
identity_request(Session *session, FieldReader *fields)
{
    Identity identity = {.result = message_begin()};
    Field field;
    while (field_next(fields, &field) > 0) {
        take(&identity, &field);
    }
    finish_all(&identity);
    if (!link_send(&session->link, FRAME_RESULT, identity.result->bytes, identity.result->length) &&
        session->link.state == LINK_OPEN) {
        link_fail(&session->link, PROBLEM_INVALID, "a part's name can't be sent");
    }
}
