/* Several forks at a time, each made by a process of its own: see fork.c. */
#include "config.h"

#include "base/base.h"
#include "ops/fork-private.h"

typedef struct {
    Forking forking; /* borrowed; the child's copy says its progress elsewhere */
    const char *name;
    LodgeChild *child; /* NULL: not begun, or ended */
    GError *problem;
} One;

typedef struct {
    One *ones;
    guint count;
    guint begun, ended;
    gboolean stops; /* no more are begun */
} Several;

static void
several_clear(Several *several)
{
    for (guint i = 0; i < several->count; i++) {
        lodge_child_free(several->ones[i].child);
        g_clear_error(&several->ones[i].problem);
    }
    g_free(several->ones);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Several, several_clear)

static gboolean
make(gpointer data, LodgeProgress *progress, GError **error)
{
    One *one = data;
    one->forking.progress = progress;
    return fork_one(&one->forking, one->name, error);
}

/* As many as can be at work: a fork is a QEMU that starts, and a guest that finds itself. */
static void
begin_more(Several *several)
{
    guint at_once = MAX(g_get_num_processors(), 2);
    while (!several->stops && several->begun < several->count &&
           several->begun - several->ended < at_once) {
        One *one = &several->ones[several->begun++];
        one->child = lodge_child_begin(make, one, &one->problem);
        several->ended += one->child == NULL;
    }
}

/* Those under way undo what they did, and are waited for: only then is what they stand on free. */
static void
stop(Several *several)
{
    several->stops = TRUE;
    lodge_interrupt_hold();
    for (guint i = 0; i < several->begun; i++) {
        if (several->ones[i].child != NULL) {
            lodge_child_interrupt(several->ones[i].child);
        }
    }
}

static void
hear(Several *several, const struct pollfd *polls)
{
    for (guint i = 0; i < several->begun; i++) {
        One *one = &several->ones[i];
        if (polls[i].revents != 0 && lodge_child_hear(one->child, NULL)) {
            if (!lodge_child_end(one->child, &one->problem)) {
                fork_remove_unfinished(&one->forking, one->name);
            }
            g_clear_pointer(&one->child, lodge_child_free);
            several->ended++;
        }
    }
}

static gboolean
run(Several *several, LodgeProgress *progress, GError **error)
{
    g_autofree struct pollfd *polls = g_new0(struct pollfd, several->count);
    for (begin_more(several); several->ended < several->begun; begin_more(several)) {
        for (guint i = 0; i < several->begun; i++) {
            const LodgeChild *child = several->ones[i].child;
            polls[i] = (struct pollfd){.fd = child != NULL ? lodge_child_fd(child) : -1,
                                       .events = POLLIN};
        }
        if (!lodge_wait_polls(polls, several->begun, LODGE_NO_DEADLINE,
                              several->stops ? NULL : error)) {
            stop(several);
            continue;
        }
        hear(several, polls);
        g_autofree char *words = g_strdup_printf("%u of %u", several->ended, several->count);
        lodge_progress_part(progress, (double)several->ended / several->count, words);
    }
    if (several->stops) {
        lodge_interrupt_release();
    }
    return !several->stops;
}

/* All that failed, by name. */
static gboolean
judge(const Several *several, GError **error)
{
    g_autoptr(GString) words = g_string_new(NULL);
    int code = LODGE_ERROR_FAILED;
    for (guint i = 0; i < several->count; i++) {
        const GError *problem = several->ones[i].problem;
        if (problem == NULL) {
            continue;
        }
        if (words->len == 0 && problem->domain == LODGE_ERROR) {
            code = problem->code;
        }
        g_string_append_printf(words, "%sguest %s: %s", words->len > 0 ? "; " : "",
                               several->ones[i].name, problem->message);
    }
    return words->len == 0 || lodge_error_set(error, (LodgeError)code, "%s", words->str);
}

gboolean
fork_several(const Forking *forking, GError **error)
{
    guint count = g_strv_length((char **)forking->what->names);
    g_auto(Several) several = {.ones = g_new0(One, count), .count = count};
    for (guint i = 0; i < count; i++) {
        several.ones[i] = (One){.forking = *forking, .name = forking->what->names[i]};
    }
    lodge_progress_stage(forking->progress, "%u guests %s", count,
                         !forking->runs                   ? "are made"
                         : forking->what->timeout_ms != 0 ? "begin and answer"
                                                          : "begin");
    return run(&several, forking->progress, error) && judge(&several, error);
}
