/* Theory of operation: a guest begins as a copy.
 *
 *   QEMU maps the memory file, its own writes private ─ reads devices' state ─ goes on, link down ─
 *   the agent gives it its identity, in one message ─ link up
 *
 * The mark `forking` in the guest's folder stands for the time in which it is still somebody else:
 * whoever finds it without its maker ends that QEMU (session.c). The copy's disk holds no host key,
 * machine id or host name (see park.c), so a guest that boots from it makes itself its own. */
#include "config.h"

#include "ops/forking.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "keeper/keeper.h"
#include "net/define.h"
#include "ops/grow.h"
#include "ops/host-key.h"
#include "ops/machine-state.h"
#include "ops/parked.h"
#include "ops/snapshot-private.h"
#include "qmp/agent.h"

#define MARK "forking"

enum {
    MONITOR_TIMEOUT_MS = 30000,
    AGENT_TIMEOUT_MS = 30000,
    SEED_LIMIT_BYTES = 1 << 20,
    FILES_AT_MOST = 5, /* and an empty one behind them */
};

LodgeWarm *
forking_find(const LodgeStore *store, const LodgeGuest *guest, const LodgeImage *image)
{
    g_auto(ParkedShape) shape = PARKED_SHAPE_NONE;
    return parked_shape(store, guest, image, &shape, NULL)
               ? lodge_warm_find(store, image->name, shape.key)
               : NULL;
}

/* --- Its identity ----------------------------------------------------------------------------- */

typedef struct {
    GPtrArray *addresses; /* of a NIC: "10.77.0.12/24"; ended by NULL */
    GPtrArray *gateways;
} NicPlace;

typedef struct {
    NicPlace *places; /* for each NIC */
    guint place_count;
    HostKey host_key;
    char *host_place;
    char *public_place;
    char *seed;
    gsize seed_length;
    char *keys;
    char *identity; /* of a copy of another guest's disk: what the seed calls it */
    char *machine_id;
    LodgeAgentFile files[FILES_AT_MOST];
} Person;

static void
person_clear(Person *person)
{
    for (guint i = 0; i < person->place_count; i++) {
        g_ptr_array_unref(person->places[i].addresses);
        g_ptr_array_unref(person->places[i].gateways);
    }
    g_free(person->places);
    host_key_clear(&person->host_key);
    g_free(person->host_place);
    g_free(person->public_place);
    g_free(person->seed);
    g_free(person->keys);
    g_free(person->identity);
    g_free(person->machine_id);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Person, person_clear)

/* What DHCP will say is known beforehand, so nobody waits for it. */
static void
find_place(const LodgeStore *store, const LodgeNic *nic, NicPlace *place)
{
    LodgePrefix subnet;
    g_autoptr(LodgeNetwork) network = lodge_net_running(store, nic->network);
    place->addresses = g_ptr_array_new_with_free_func(g_free);
    place->gateways = g_ptr_array_new_with_free_func(g_free);
    if (g_str_equal(nic->network, LODGE_NETWORK_USER)) {
        g_ptr_array_add(place->addresses, g_strdup("10.0.2.15/24"));
        g_ptr_array_add(place->gateways, g_strdup("10.0.2.2"));
    } else if (network != NULL && nic->address != NULL && network->dhcp &&
               network->mode == LODGE_NETWORK_NAT && lodge_network_subnet(network, &subnet)) {
        LodgePrefix gateway = lodge_network_gateway(&subnet);
        g_ptr_array_add(place->addresses, g_strdup_printf("%s/%u", nic->address, subnet.length));
        g_ptr_array_add(place->gateways, lodge_prefix_format_address(&gateway));
    }
    g_ptr_array_add(place->addresses, NULL);
    g_ptr_array_add(place->gateways, NULL);
}

/* What the seed would have said at the first boot, and that it need not be said again. */
static gboolean
read_seed(const Session *session, Person *person, GError **error)
{
    g_autofree char *path = lodge_store_guest_path(session->store, session->guest->name,
                                                   "seed.txt");
    g_autoptr(GString) keys = g_string_new(NULL);
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    person->seed = lodge_file_read(path, SEED_LIMIT_BYTES, &person->seed_length, error);
    g_auto(GStrv) lines = person->seed != NULL ? g_strsplit(person->seed, "\n", -1) : NULL;
    for (gsize i = 0; lines != NULL && lines[i] != NULL; i++) {
        static const char key[] = "authorized-key=";
        static const char identity[] = "identity=";
        if (g_str_has_prefix(lines[i], key)) {
            g_string_append_printf(keys, "%s\n", lines[i] + strlen(key));
        } else if (g_str_has_prefix(lines[i], identity)) {
            g_free(person->identity);
            person->identity = g_strconcat(lines[i] + strlen(identity), "\n", NULL);
        }
    }
    person->keys = keys->len > 0 ? g_strdup(keys->str) : NULL;
    return person->seed != NULL;
}

static gboolean
add_host_key(const Session *session, Person *person, guint *count, GError **error)
{
    if (person->host_place == NULL) {
        return TRUE;
    }
    const char *name = session->guest->name;
    const HostKey *key = &person->host_key;
    g_autofree char *folder = lodge_store_guest_path(session->store, name, NULL);
    g_autofree char *known = lodge_store_guest_path(session->store, name, "known_hosts");
    if (!host_key_make(folder, person->host_place, &person->host_key, error)) {
        return FALSE;
    }
    person->public_place = g_strconcat(person->host_place, ".pub", NULL);
    person->files[(*count)++] = (LodgeAgentFile){person->host_place, 0600, key->private_key,
                                                 key->private_length};
    person->files[(*count)++] = (LodgeAgentFile){person->public_place, 0644, key->public_key,
                                                 strlen(key->public_key)};
    g_autofree char *line = g_strdup_printf("%s %s\n", name, key->public_key);
    return lodge_file_write(known, line, strlen(line), 0600, LODGE_WRITE_NO_SYNC, error);
}

static gboolean
make_person(const Session *session, Person *person, GError **error)
{
    const LodgeGuest *guest = session->guest;
    guint count = 0;
    g_autofree char *uuid = lodge_uuid_random();
    g_auto(GStrv) parts = g_strsplit(uuid, "-", -1);
    person->machine_id = g_strjoinv("", parts);
    person->place_count = guest->nics->len;
    person->places = g_new0(NicPlace, guest->nics->len + 1);
    for (guint i = 0; i < guest->nics->len; i++) {
        find_place(session->store, guest->nics->pdata[i], &person->places[i]);
    }
    if (!read_seed(session, person, error) || !add_host_key(session, person, &count, error)) {
        return FALSE;
    }
    if (person->seed != NULL) {
        person->files[count++] = (LodgeAgentFile){"/var/lib/lodge/seed", 0600, person->seed,
                                                  person->seed_length};
    }
    if (person->identity != NULL) {
        person->files[count++] = (LodgeAgentFile){"/var/lib/lodge/identity", 0644, person->identity,
                                                  strlen(person->identity)};
    }
    return TRUE;
}

static gboolean
tell_identity(LodgeAgent *agent, const LodgeGuest *guest, const ForkingSource *source,
              const Person *person, GError **error)
{
    g_autofree LodgeAgentNicIdentity *nics = g_new0(LodgeAgentNicIdentity, guest->nics->len + 1);
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        const LodgeNic *was = source->was != NULL ? source->was->nics->pdata[i] : NULL;
        nics[i] = (LodgeAgentNicIdentity){
            .nic = was != NULL ? was->mac : "",
            .mac = nic->mac,
            .addresses = (const char *const *)person->places[i].addresses->pdata,
            .gateways = (const char *const *)person->places[i].gateways->pdata,
            .dhcp = i == 0 && source->asks_anew,
            .link_up = TRUE,
        };
    }
    const LodgeAgentIdentity identity = {.hostname = guest->name,
                                         .machine_id = person->machine_id,
                                         .clock = TRUE,
                                         .entropy = TRUE,
                                         .nics = nics,
                                         .keys_user = guest->user,
                                         .authorized_keys = person->keys,
                                         .files = person->files};
    return lodge_agent_identity(agent, &identity, lodge_deadline_in(AGENT_TIMEOUT_MS), error);
}

static gboolean
give_identity(const Session *session, const ForkingSource *source, GError **error)
{
    g_auto(Person) person = {.host_place = g_strdup(source->host_key)};
    g_autofree char *folder = lodge_store_run_path(session->store, session->guest->name, NULL);
    gint64 deadline = lodge_deadline_in(AGENT_TIMEOUT_MS);
    g_autoptr(LodgeAgent) agent = lodge_agent_connect(folder, deadline, error);
    if (agent == NULL) {
        return lodge_error_prefix(error, "lodge-agent");
    }
    if (person.host_place == NULL) {
        person.host_place = host_key_find(agent, deadline);
    }
    return make_person(session, &person, error) &&
           tell_identity(agent, session->guest, source, &person, error);
}

/* --- Starting --------------------------------------------------------------------------------- */

static gboolean
set_links(LodgeQmp *qmp, const LodgeGuest *guest, gboolean up, GError **error)
{
    for (guint i = 0; i < guest->nics->len; i++) {
        g_autofree char *name = g_strdup_printf("n%u", i);
        if (!lodge_qmp_run(qmp, lodge_deadline_in(MONITOR_TIMEOUT_MS), error, "set_link",
                           "{s:s, s:b}", "name", name, "up", up)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* A machine that moved tells its network where it is now, and has its guest do so. A copy is not
 * there yet, and must not speak with the other's MAC; nor need it spend its first moments so. */
static gboolean
keep_silent(const Session *session, GError **error)
{
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    return qmp != NULL && lodge_qmp_run(qmp, lodge_deadline_in(MONITOR_TIMEOUT_MS), error,
                                        "migrate-set-parameters", "{s:i}", "announce-rounds", 0);
}

/* Who asks for its address before its own side of the link is up is not heard, and asks again a
 * second later: so it says of itself where it is. At once, for the bridge's sake, and when it will
 * have seen that its link is up. */
static gboolean
announce(LodgeQmp *qmp, GError **error)
{
    return lodge_qmp_run(qmp, lodge_deadline_in(MONITOR_TIMEOUT_MS), error, "announce-self",
                         "{s:i, s:i, s:i, s:i}", "initial", 30, "step", 100, "max", 200, "rounds",
                         3);
}

static gboolean
load(const Session *session, const ForkingSource *source, GError **error)
{
    if (!keep_silent(session, error)) {
        return FALSE;
    }
    if (source->was != NULL) {
        return live_snapshot_load(session, source->state, error);
    }
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    return qmp != NULL &&
           machine_state_read(qmp, source->state, lodge_deadline_in(MONITOR_TIMEOUT_MS), error);
}

static gboolean
grow(const Session *session, LodgeQmp *qmp, const ForkingSource *source, GError **error)
{
    gboolean grown = FALSE;
    const LodgeDisk *root = session->guest->disks->pdata[0];
    return grow_disk(session, qmp, root->name, source->disk_bytes, error) &&
           grow_root(session, &grown, error);
}

static gboolean
go_on(Session *session, const ForkingSource *source, LodgeProgress *progress, GError **error)
{
    if (!session_refresh(session, error) || !load(session, source, error)) {
        return FALSE;
    }
    const LodgeGuest *guest = session->guest;
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    if (qmp == NULL || !set_links(qmp, guest, FALSE, error) ||
        !lodge_qmp_run(qmp, lodge_deadline_in(MONITOR_TIMEOUT_MS), error, "cont", NULL)) {
        return FALSE;
    }
    lodge_fault("fork-running");
    lodge_progress_stage(progress, "it becomes its own");
    if (!give_identity(session, source, error)) {
        return FALSE;
    }
    lodge_fault("fork-identified");
    if (source->disk_bytes != 0 && !grow(session, qmp, source, error)) {
        return FALSE;
    }
    return set_links(qmp, guest, TRUE, error) && announce(qmp, error);
}

static gboolean
start_keeper(const Session *session, const ForkingSource *source, GError **error)
{
    const char *name = session->guest->name;
    if (!lodge_keeper_tell_layout(session->store, name, source->layout, error)) {
        return FALSE;
    }
    return source->memory != NULL
               ? lodge_keeper_start_from(session->store, name, source->memory, error)
               : lodge_keeper_start(session->store, name,
                                    LODGE_KEEPER_PAUSED | LODGE_KEEPER_INCOMING, error);
}

gboolean
forking_start(Session *session, const ForkingSource *source, LodgeProgress *progress,
              GError **error)
{
    const char *name = session->guest->name;
    g_autofree char *mark = lodge_store_guest_path(session->store, name, MARK);
    lodge_progress_stage(progress, "it begins as %s",
                         source->was != NULL ? source->was->name : "the parked machine");
    if (!session_check_memory(session, error) ||
        !lodge_file_write(mark, "", 0, 0600, LODGE_WRITE_NO_SYNC, error)) {
        return FALSE;
    }
    lodge_fault("fork-marked");
    if (start_keeper(session, source, error) && go_on(session, source, progress, error)) {
        unlink(mark);
        lodge_fault("fork-whole");
        return TRUE;
    }
    lodge_interrupt_hold();
    session_refresh(session, NULL);
    forking_end(session, NULL);
    lodge_interrupt_release();
    return FALSE;
}

gboolean
forking_is_unfinished(const LodgeStore *store, const char *guest)
{
    g_autofree char *mark = lodge_store_guest_path(store, guest, MARK);
    return g_file_test(mark, G_FILE_TEST_EXISTS);
}

gboolean
forking_end(const Session *session, GError **error)
{
    g_autofree char *mark = lodge_store_guest_path(session->store, session->guest->name, MARK);
    g_autofree char *word = lodge_store_run_path(session->store, session->guest->name,
                                                 LODGE_KEEPER_MEMORY);
    if (!session_kill(session, error)) {
        return FALSE;
    }
    unlink(word); /* which no keeper has taken */
    unlink(mark);
    return TRUE;
}
