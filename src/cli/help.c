#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "model/model.h"

enum {
    TEXT_COLUMNS = 79,
};

static void
print_heading(const LodgeCli *cli, const char *text)
{
    g_autofree char *heading = lodge_colour(cli->colour_out, "bold", text);
    printf("\n%s\n", heading);
}

void
lodge_print_help(const LodgeCli *cli)
{
    const char *group = NULL;
    int width = 0;
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        width = MAX(width, (int)strlen(row->name));
    }
    puts("Lodge makes virtual machines: a name becomes a running guest that answers.\n\n"
         "  lodge create web1 --os debian-12    a guest, ready to log into\n"
         "  lodge ssh web1                      log into it\n"
         "  lodge delete web1                   remove it and all that was made for it");
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        if (group == NULL || !g_str_equal(group, row->group)) {
            print_heading(cli, row->group);
            group = row->group;
        }
        printf("  %-*s  %s\n", width, row->name, row->summary);
    }
    puts("\n`lodge COMMAND --help` explains a command by examples. All take --json and --quiet.\n"
         "`lodge completion bash|zsh|fish` prints a completion script. The manual: lodge(1).");
}

/* In lines of a width that reads well, on any terminal. */
static void
print_wrapped(const char *text)
{
    glong column = 0;
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        glong length = g_utf8_strlen(words[i], -1);
        if (column > 0 && column + 1 + length > TEXT_COLUMNS) {
            puts("");
            column = 0;
        }
        printf("%s%s", column > 0 ? " " : "", words[i]);
        column += (column > 0) + length;
    }
    puts("");
}

/* Examples: the command, and behind " # " what it means. */
static void
print_examples(const LodgeCommandRow *row, const char *indent)
{
    g_auto(GStrv) lines = g_strsplit(row->examples, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        printf("%s%s\n", indent, lines[i]);
    }
}

static char *
option_form(const GOptionEntry *option, const char *bold)
{
    g_autofree char *value = option->arg_description != NULL
                                 ? g_strdup_printf(" %s", option->arg_description)
                                 : g_strdup("");
    return option->short_name != 0
               ? g_strdup_printf("%s-%c%s, %s--%s%s%s", bold, option->short_name, bold, bold,
                                 option->long_name, bold, value)
               : g_strdup_printf("%s--%s%s%s", bold, option->long_name, bold, value);
}

static void
print_options(const GOptionEntry *options)
{
    int width = 0;
    for (const GOptionEntry *option = options; option->long_name != NULL; option++) {
        g_autofree char *form = option_form(option, "");
        width = MAX(width, (int)strlen(form));
    }
    for (const GOptionEntry *option = options; option->long_name != NULL; option++) {
        g_autofree char *form = option_form(option, "");
        printf("  %-*s  %s\n", width, form, option->description);
    }
}

void
lodge_print_command_help(const LodgeCli *cli, const LodgeCommandRow *row)
{
    printf("lodge %s%s%s%s\n\n%c%s.\n", row->name, *row->arguments != '\0' ? " " : "",
           row->arguments, row->options != NULL ? " [options]" : "", g_ascii_toupper(*row->summary),
           row->summary + 1);
    if (row->details != NULL) {
        puts("");
        print_wrapped(row->details);
    }
    print_heading(cli, "Examples");
    print_examples(row, "  ");
    if (row->options != NULL) {
        print_heading(cli, "Options");
        print_options(row->options);
    }
}

/* scdoc takes '_' and '*' for markup. */
static char *
scdoc_escape(const char *text)
{
    g_autoptr(GString) escaped = g_string_new(NULL);
    for (const char *c = text; *c != '\0'; c++) {
        if (strchr("_*\\~[]<>", *c) != NULL) {
            g_string_append_c(escaped, '\\');
        }
        g_string_append_c(escaped, *c);
    }
    return g_string_free(g_steal_pointer(&escaped), FALSE);
}

void
lodge_print_man(void)
{
    const char *group = NULL;
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        if (group == NULL || !g_str_equal(group, row->group)) {
            printf("## %s\n\n", row->group);
            group = row->group;
        }
        g_autofree char *arguments = scdoc_escape(row->arguments);
        g_autofree char *summary = scdoc_escape(row->summary);
        g_autofree char *details = scdoc_escape(row->details != NULL ? row->details : "");
        printf("*lodge %s* %s\n\t%c%s. %s\n\n", row->name, arguments, g_ascii_toupper(summary[0]),
               summary + 1, details);
        for (const GOptionEntry *option = row->options; option != NULL && option->long_name != NULL;
             option++) {
            g_autofree char *form = option_form(option, "*");
            g_autofree char *description = scdoc_escape(option->description);
            printf("\t%s\n\t\t%s\n\n", form, description);
        }
        puts("\t```");
        print_examples(row, "\t");
        puts("\t```\n");
    }
}

static void
print_man_sections(const LodgeSection *sections)
{
    for (const LodgeSection *section = sections; section->name != NULL; section++) {
        printf("# [%s%s]\n\n%s\n\n", section->name, section->repeats ? " NAME" : "", section->help);
        for (gsize i = 0; i < section->key_count; i++) {
            const LodgeKey *key = &section->keys[i];
            g_autofree char *help = scdoc_escape(key->help);
            printf("*%s=*\n\t%s", key->name, help);
            if (key->choices != NULL) {
                g_auto(GStrv) words = g_strsplit(key->choices, "|", -1);
                g_autofree char *list = g_strjoinv("*, *", words);
                printf(" One of *%s*.", list);
            }
            if (key->fallback != NULL) {
                printf(" Default: *%s*.", key->fallback);
            }
            puts("\n");
        }
    }
}

void
lodge_print_man_guest(void)
{
    print_man_sections(lodge_guest_sections());
}

void
lodge_print_man_network(void)
{
    print_man_sections(lodge_network_sections());
}
