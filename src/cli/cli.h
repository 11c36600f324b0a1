/* What the commands share: the table's row, output, questions. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/base.h"
#include "store/store.h"

/* What a command's words are, for completion. */
typedef enum {
    LODGE_WORD_NONE,
    LODGE_WORD_GUEST,
    LODGE_WORD_IMAGE,
    LODGE_WORD_OS,
    LODGE_WORD_NETWORK,
    LODGE_WORD_FILE,
    LODGE_WORD_COMMAND,
} LodgeWord;

typedef struct {
    LodgeStore *store;
    gboolean json;
    gboolean quiet;
    gboolean colour_out;    /* standard output */
    gboolean colour_errors; /* standard error */
    int status;             /* to exit with when a command fails; 0: by its error's code */
} LodgeCli;

/* FALSE without an error: all was said, exit with cli->status. */
typedef gboolean (*LodgeRunFunc)(LodgeCli *cli, int argc, char **argv, GError **error);

/* One command. The rows make the dispatch, --help, lodge(1) and the completions. */
typedef struct {
    const char *name;      /* "create", "image build" */
    const char *group;     /* the heading it stands under */
    const char *arguments; /* "GUEST…" */
    const char *summary;   /* begins lower case, no full stop */
    const char *details;   /* sentences; NULL: the summary says it all */
    const char *examples;  /* lines; a line's meaning stands behind " # " */
    const GOptionEntry *options;
    int least, most; /* how many words; most -1: any number */
    LodgeWord words;
    gboolean strict; /* options end at the first word: the rest is another program's */
    LodgeRunFunc run;
} LodgeCommandRow;

/* All rows, ended by one without a name (commands.c). */
const LodgeCommandRow *lodge_commands(void);
/* The row of "@first @second", else that of @first: `backup` is a command, and `backup mount`
 * another. @second may be NULL. How many words that took goes to @out_words. NULL: no such command.
 */
const LodgeCommandRow *lodge_find_command(const char *first, const char *second, int *out_words);

/* --- A word that is no command (unknown.c) --- */

/* Set a USAGE error that names the command that was meant by @first and @second (or NULL): what
 * other programs' words are called here, else what is spelt nearly so. Returns FALSE. */
gboolean lodge_refuse_command(const char *first, const char *second, GError **error);

/* --- Output (output.c) --- */

/* A table whose columns line up, counted in terminal cells. Cells are copied. A column whose title
 * ends with '>' is aligned right. */
typedef struct LodgeTable LodgeTable;
LodgeTable *lodge_table_new(const char *const *titles);
void lodge_table_add(LodgeTable *table, const char *const *cells);
void lodge_table_print(LodgeTable *table, const LodgeCli *cli);
void lodge_table_free(LodgeTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeTable, lodge_table_free)

/* What stands before a name in a tree, "├─ " and its like, for rows in the tree's order. @is_last:
 * among its siblings. @more, as long as the tree can be deep, is for rows together. g_free. */
char *lodge_tree_lead(guint depth, gboolean is_last, gboolean *more);
/* The same for a row that goes on below the last one, without a branch of its own. g_free. */
char *lodge_tree_stem(guint depth, const gboolean *more);

/* A time of ISO 8601 as people here read it, "2026-11-21 12:30:01"; "–" for NULL. Free with g_free.
 */
char *lodge_time_shown(const char *iso);

/* Print JSON, indented for people; @value is taken. */
void lodge_print_json(json_t *value);

/* @text in a colour ("red", "green", "yellow", "bold", "dim") if @enabled. Free with g_free. */
char *lodge_colour(gboolean enabled, const char *colour, const char *text);

/* A line for people on standard error, unless --quiet. */
void lodge_say(const LodgeCli *cli, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Ask a yes-or-no question. USAGE error where there is nobody to ask. INTERRUPTED if the answer is
 * no. */
gboolean lodge_ask(const char *question, GError **error);

/* --- Editing (editor.c) --- */

/* Takes an edited text for good; an INVALID or EXISTS error lets the user edit it again. */
typedef gboolean (*LodgeTakeTextFunc)(LodgeCli *cli, const char *name, const char *text,
                                      GError **error);
/* Show @text, the definition of @name, in the user's editor, and hand over what becomes of it. */
gboolean lodge_edit_text(LodgeCli *cli, const char *name, const char *text, LodgeTakeTextFunc take,
                         GError **error);

/* --- Progress (progress.c) --- */

/* A listener that shows stages and their times on standard error; silent with --quiet or --json. */
LodgeProgress *lodge_cli_progress_new(const LodgeCli *cli);
/* The last stage is done (@fine) or failed; returns the time since the first began, in ms. */
gint64 lodge_cli_progress_end(LodgeProgress *progress, gboolean fine);

/* --- Help (help.c) --- */
void lodge_print_help(const LodgeCli *cli);
void lodge_print_command_help(const LodgeCli *cli, const LodgeCommandRow *row);
void lodge_print_man(void);         /* lodge(1), in scdoc */
void lodge_print_man_network(void); /* lodge-network.conf(5) */
void lodge_print_man_guest(void);   /* lodge-guest.conf(5) */

/* --- Completion --- */
gboolean lodge_print_completion(const char *shell, GError **error);
/* Print what can stand in the place of the last of @count words behind "lodge" (complete.c). */
void lodge_complete(int count, char **words);

/* The commands' functions, one file a noun: cmd-*.c. */
gboolean lodge_cmd_check(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_create(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_fork(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_list(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_show(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_start(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_stop(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_kill(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_restart(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_pause(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_resume(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_host_ksm(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_top(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_limits(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_delete(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_set(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_edit(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_rename(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_ssh(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_agent_install(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_agent_status(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_cp(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_exec(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_forward(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_resolve(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_log(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_console(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_events(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_vnc(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_screenshot(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_type(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_monitor(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_cdrom(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_backup(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_backup_mount(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_backup_unmount(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_rewind(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_restore(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_snapshot_create(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_snapshot_list(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_snapshot_show(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_snapshot_restore(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_snapshot_delete(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_snapshot_diff(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_disk_list(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_disk_tree(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_disk_info(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_disk_create(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_disk_attach(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_disk_detach(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_disk_resize(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_disk_check(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_disk_convert(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_pci_attach(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_pci_detach(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_pci_list(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_usb_list(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_usb_attach(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_usb_detach(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_usb_plugged(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_usb_storage(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_list(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_show(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_build(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_pull(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_import(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_export(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_make(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_gc(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_park(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_unpark(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_image_delete(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_create(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_list(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_show(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_set(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_delete(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_start(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_stop(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_bridge(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_unbridge(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_edit(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_test(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_confirm(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_forward(LodgeCli *cli, int argc, char **argv, GError **error);
gboolean lodge_cmd_network_leases(LodgeCli *cli, int argc, char **argv, GError **error);

/* Option values live where GOption can reach them: in statics beside their commands. */
extern const GOptionEntry lodge_options_check[];
extern const GOptionEntry lodge_options_create[];
extern const GOptionEntry lodge_options_fork[];
extern const GOptionEntry lodge_options_list[];
extern const GOptionEntry lodge_options_show[];
extern const GOptionEntry lodge_options_start[];
extern const GOptionEntry lodge_options_stop[];
extern const GOptionEntry lodge_options_restart[];
extern const GOptionEntry lodge_options_limits[];
extern const GOptionEntry lodge_options_top[];
extern const GOptionEntry lodge_options_delete[];
extern const GOptionEntry lodge_options_ssh[];
extern const GOptionEntry lodge_options_exec[];
extern const GOptionEntry lodge_options_forward[];
extern const GOptionEntry lodge_options_log[];
extern const GOptionEntry lodge_options_console[];
extern const GOptionEntry lodge_options_events[];
extern const GOptionEntry lodge_options_vnc[];
extern const GOptionEntry lodge_options_screenshot[];
extern const GOptionEntry lodge_options_type[];
extern const GOptionEntry lodge_options_monitor[];
extern const GOptionEntry lodge_options_cdrom[];
extern const GOptionEntry lodge_options_backup[], lodge_options_backup_mount[];
extern const GOptionEntry lodge_options_restore[];
extern const GOptionEntry lodge_options_rewind[];
extern const GOptionEntry lodge_options_snapshot_create[];
extern const GOptionEntry lodge_options_snapshot_restore[];
extern const GOptionEntry lodge_options_disk_create[];
extern const GOptionEntry lodge_options_disk_attach[];
extern const GOptionEntry lodge_options_disk_detach[];
extern const GOptionEntry lodge_options_disk_convert[];
extern const GOptionEntry lodge_options_pci_attach[];
extern const GOptionEntry lodge_options_usb_attach[];
extern const GOptionEntry lodge_options_usb_storage[];
extern const GOptionEntry lodge_options_image_import[];
extern const GOptionEntry lodge_options_image_export[];
extern const GOptionEntry lodge_options_image_make[];
extern const GOptionEntry lodge_options_image_gc[];
extern const GOptionEntry lodge_options_image_park[];
extern const GOptionEntry lodge_options_network_create[];
extern const GOptionEntry lodge_options_network_start[];
extern const GOptionEntry lodge_options_network_stop[];
extern const GOptionEntry lodge_options_network_bridge[];
extern const GOptionEntry lodge_options_network_unbridge[];
extern const GOptionEntry lodge_options_network_confirm[];
extern const GOptionEntry lodge_options_network_test[];
extern const GOptionEntry lodge_options_yes[];
extern gboolean lodge_option_yes;
