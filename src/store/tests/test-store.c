#include "config.h"

#include "base/base.h"
#include "store/store.h"

#include <string.h>
#include <unistd.h>

static LodgeStore *store;

static void
make_guest(const char *name, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeStaging) staging = lodge_staging_begin(store, LODGE_STORE_GUESTS, name, &error);
    g_assert_no_error(error);
    g_autofree char *path = g_build_filename(lodge_staging_folder(staging), "guest.conf", NULL);
    g_assert_true(lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, NULL));
    g_assert_true(lodge_staging_commit(staging, FALSE, &error));
    g_assert_no_error(error);
}

static guint
count_hidden(const char *kind)
{
    guint count = 0;
    g_autofree char *path = g_build_filename(store->root, kind, NULL);
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    for (const char *name; folder != NULL && (name = g_dir_read_name(folder)) != NULL;) {
        count += name[0] == '.';
    }
    return count;
}

static void
test_make_and_remove(void)
{
    make_guest("web1", "[guest]\nimage=tiny\n");
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, "web1", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(guest->image, ==, "tiny");
    g_assert_null(lodge_staging_begin(store, LODGE_STORE_GUESTS, "web1", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_clear_error(&error);
    g_assert_null(lodge_store_guest(store, "wbe1", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    g_assert_cmpstr(error->message, ==, "no guest “wbe1” (did you mean “web1”?)");
    g_clear_error(&error);
    g_assert_true(lodge_store_remove(store, LODGE_STORE_GUESTS, "web1", &error));
    g_auto(GStrv) names = lodge_store_guests(store, &error);
    g_assert_cmpuint(g_strv_length(names), ==, 0);
    g_assert_cmpuint(count_hidden("guests"), ==, 0);
}

static void
test_definition_changes_whole_or_not(void)
{
    make_guest("def", "# mine\n[guest]\ncpus=2\n");
    g_autoptr(GError) error = NULL;
    g_autoptr(GKeyFile) file = lodge_store_guest_file(store, "def", NULL, &error);
    g_assert_no_error(error);
    g_key_file_set_string(file, "guest", "cpus", "3");
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    g_assert_true(lodge_store_guest_write(store, "def", text, &error));
    g_assert_nonnull(strstr(text, "# mine"));
    g_assert_false(lodge_store_guest_write(store, "def", "[guest]\ncpu=1\ncpus=x\n", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, "def", &error);
    g_assert_cmpuint(guest->cpus, ==, 3);
    g_assert_null(lodge_store_guest_started(store, "def"));
    g_assert_true(lodge_store_guest_rename(store, "def", "fed", &error));
    g_assert_null(lodge_store_guest(store, "def", NULL));
    g_autoptr(LodgeGuest) renamed = lodge_store_guest(store, "fed", &error);
    g_assert_cmpuint(renamed->cpus, ==, 3);
    make_guest("def", "[guest]\n");
    g_assert_false(lodge_store_guest_rename(store, "fed", "def", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
}

static void
test_one_maker(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeStaging) first = lodge_staging_begin(store, LODGE_STORE_GUESTS, "two", &error);
    g_assert_nonnull(first);
    g_assert_null(lodge_staging_begin(store, LODGE_STORE_GUESTS, "two", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    g_assert_true(g_file_test(lodge_staging_folder(first), G_FILE_TEST_IS_DIR));
}

static void
test_abandoned_is_swept(void)
{
    g_autofree char *folder = g_build_filename(store->root, "guests/.new-dead", NULL);
    g_autofree char *file = g_build_filename(folder, "root.qcow2", NULL);
    g_assert_true(lodge_dir_make(folder, 0700, NULL));
    g_autofree char *lock = g_build_filename(store->root, "guests/.gone-dead-1.lock", NULL);
    g_assert_true(lodge_file_write(file, "x", 1, 0600, LODGE_WRITE_NO_SYNC, NULL));
    g_assert_true(lodge_file_write(lock, "", 0, 0600, LODGE_WRITE_NO_SYNC, NULL));
    make_guest("alive", "[guest]\n");
    g_assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
    g_assert_cmpuint(count_hidden("guests"), ==, 0);
}

static void
test_uncommitted_leaves_nothing(void)
{
    g_autoptr(LodgeStaging) staging = lodge_staging_begin(store, LODGE_STORE_IMAGES, "i", NULL);
    g_assert_cmpuint(count_hidden("images"), ==, 2);
    g_clear_pointer(&staging, lodge_staging_free);
    g_assert_cmpuint(count_hidden("images"), ==, 0);
}

static void
test_job_excludes(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeJob) job = lodge_job_begin(store, "alive", "stop", &error);
    g_assert_no_error(error);
    lodge_progress_stage(lodge_job_progress(job, NULL), "asking");
    g_assert_null(lodge_job_begin(store, "alive", "start", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "`lodge stop`"));
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, "alive");
    g_assert_cmpstr(state->job, ==, "stop");
    g_assert_cmpstr(state->job_stage, ==, "asking");
    g_assert_cmpint(state->state, ==, LODGE_STATE_STOPPED);
}

static void
publish(const char *text)
{
    g_autofree char *path = lodge_store_run_path(store, "alive", "state.json");
    g_assert_true(lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
}

static void
test_state_of_the_dead_is_not_believed(void)
{
    g_autofree char *folder = lodge_store_run_path(store, "alive", NULL);
    g_assert_true(lodge_dir_make(folder, 0755, NULL));
    publish("{\"state\":\"running\",\"pid\":1,\"agent\":true}");
    g_autoptr(LodgeGuestState) dead = lodge_store_state(store, "alive");
    g_assert_cmpint(dead->state, ==, LODGE_STATE_STOPPED);
    g_assert_false(dead->agent);
    g_autofree char *lock_path = lodge_store_run_path(store, "alive", "qemu.lock");
    lodge_autofd lock = lodge_lock_take(lock_path, NULL);
    g_autoptr(LodgeGuestState) living = lodge_store_state(store, "alive");
    g_assert_cmpint(living->state, ==, LODGE_STATE_RUNNING);
    g_assert_true(living->agent);
    g_assert_false(living->has_keeper);
    publish("garbage");
    g_autoptr(LodgeGuestState) garbled = lodge_store_state(store, "alive");
    g_assert_cmpint(garbled->state, ==, LODGE_STATE_RUNNING);
    lodge_fd_clear(&lock);
    publish("{\"state\":\"crashed\",\"reason\":\"panic\"}");
    g_autoptr(LodgeGuestState) crashed = lodge_store_state(store, "alive");
    g_assert_cmpint(crashed->state, ==, LODGE_STATE_CRASHED);
    g_assert_cmpstr(crashed->reason, ==, "panic");
}

static LodgeState
state_among_all(const char *name)
{
    g_auto(GStrv) names = lodge_store_guests(store, NULL);
    g_autoptr(GPtrArray) states = lodge_store_states(store, (const char *const *)names);
    for (guint i = 0; i < states->len; i++) {
        const LodgeGuestState *state = states->pdata[i];
        g_autoptr(LodgeGuestState) alone = lodge_store_state(store, names[i]);
        g_assert_cmpint(state->state, ==, alone->state);
        if (g_str_equal(names[i], name)) {
            return state->state;
        }
    }
    g_assert_not_reached();
}

/* The word is the name's: it goes along with a rename, and never to another guest of that name. */
static void
test_creating_is_told(void)
{
    g_autoptr(GError) error = NULL;
    make_guest("half", "");
    make_guest("whole", "");
    g_assert_true(lodge_store_creating_begin(store, "half", &error));
    g_assert_true(lodge_store_creating_begin(store, "zombie", &error));
    g_assert_cmpint(state_among_all("half"), ==, LODGE_STATE_CREATING);
    g_assert_cmpint(state_among_all("whole"), ==, LODGE_STATE_STOPPED);
    g_assert_true(lodge_store_guest_rename(store, "half", "moved", &error));
    g_assert_cmpint(state_among_all("moved"), ==, LODGE_STATE_CREATING);
    g_assert_false(lodge_store_is_creating(store, "half"));
    g_assert_true(lodge_store_guest_rename(store, "whole", "zombie", &error));
    g_assert_cmpint(state_among_all("zombie"), ==, LODGE_STATE_STOPPED);
    g_assert_true(lodge_store_remove(store, LODGE_STORE_GUESTS, "moved", &error));
    g_assert_false(lodge_store_is_creating(store, "moved"));
    g_assert_true(lodge_store_creating_begin(store, "again", &error));
    make_guest("again", "");
    g_assert_cmpint(state_among_all("again"), ==, LODGE_STATE_STOPPED);
    g_assert_no_error(error);
}

static void
test_events(void)
{
    lodge_event_append(store, "web1", "started", json_pack("{s:i}", "pid", 7));
    lodge_event_append(store, NULL, "odd", NULL);
    g_autofree char *path = g_build_filename(store->run, "events.jsonl", NULL);
    g_autofree char *text = lodge_file_read(path, 4096, NULL, NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), ==, 3);
    g_autoptr(json_t) first = lodge_json_parse(lines[0], strlen(lines[0]), "event", NULL);
    g_assert_cmpstr(lodge_json_string(first, "event", NULL), ==, "started");
    g_assert_cmpint(lodge_json_int(first, "pid", 0), ==, 7);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_setenv("LODGE_DIR", folder, TRUE);
    store = lodge_store_open(NULL);
    g_test_add_func("/store/make-and-remove", test_make_and_remove);
    g_test_add_func("/store/definition", test_definition_changes_whole_or_not);
    g_test_add_func("/store/one-maker", test_one_maker);
    g_test_add_func("/store/abandoned", test_abandoned_is_swept);
    g_test_add_func("/store/uncommitted", test_uncommitted_leaves_nothing);
    g_test_add_func("/store/job", test_job_excludes);
    g_test_add_func("/store/state", test_state_of_the_dead_is_not_believed);
    g_test_add_func("/store/creating", test_creating_is_told);
    g_test_add_func("/store/events", test_events);
    int status = g_test_run();
    lodge_store_free(store);
    lodge_tree_remove(folder, NULL);
    return status;
}
