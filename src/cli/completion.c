/* Completion scripts, made from the table. Each asks nothing of Lodge for commands and options;
 * names of guests and images come from their folders' names by `lodge __names`. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "store/networks.h"
#include "image/image.h"

static const char *
word_kind(LodgeWord word)
{
    switch (word) {
    case LODGE_WORD_GUEST:
        return "guests";
    case LODGE_WORD_IMAGE:
        return "images";
    case LODGE_WORD_NETWORK:
        return "networks";
    case LODGE_WORD_OS:
        return "systems";
    case LODGE_WORD_NONE:
    case LODGE_WORD_FILE:
    case LODGE_WORD_COMMAND:
        break;
    }
    return NULL;
}

void
lodge_print_names(const char *kind)
{
    g_autoptr(LodgeStore) store = lodge_store_open(NULL);
    g_auto(GStrv) names = NULL;
    if (store != NULL && g_str_equal(kind, "guests")) {
        names = lodge_store_guests(store, NULL);
    } else if (store != NULL && g_str_equal(kind, "networks")) {
        names = lodge_store_networks(store, NULL);
    } else if (store != NULL && g_str_equal(kind, "images")) {
        names = lodge_store_images(store, NULL);
    } else if (store != NULL) {
        g_autoptr(GPtrArray) all = lodge_catalogue_list(store, NULL);
        for (guint i = 0; all != NULL && i < all->len; i++) {
            puts(((const LodgeImage *)all->pdata[i])->name);
        }
    }
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        puts(names[i]);
    }
}

/* "--cpus --memory -f …" of a row, divided by spaces. */
static char *
option_words(const LodgeCommandRow *row)
{
    g_autoptr(GString) words = g_string_new("--json --quiet --help");
    for (const GOptionEntry *option = row->options; option != NULL && option->long_name != NULL;
         option++) {
        g_string_append_printf(words, " --%s", option->long_name);
    }
    return g_string_free(g_steal_pointer(&words), FALSE);
}

/* The first words of all commands, each once: those of a noun stand together. */
static char *
first_words(void)
{
    g_autoptr(GString) words = g_string_new("help completion version");
    g_autofree char *last = g_strdup("");
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        char *word = g_strndup(row->name, strcspn(row->name, " "));
        if (!g_str_equal(word, last)) {
            g_string_append_printf(words, " %s", word);
        }
        g_free(last);
        last = word;
    }
    return g_string_free(g_steal_pointer(&words), FALSE);
}

/* What the words of the command @name are, "guests"; "" if there is no such command. */
static const char *
kind_of_command(const char *name)
{
    const char *kind = NULL;
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        kind = g_str_equal(row->name, name) ? word_kind(row->words) : kind;
    }
    return kind != NULL ? kind : "";
}

/* For each noun of two-word commands, print @form with the noun, its verbs, and, if it is a command
 * too, what words that has. */
static void
print_noun_cases(const char *form)
{
    g_autoptr(GString) verbs = g_string_new(NULL);
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        const char *space = strchr(row->name, ' ');
        if (space == NULL) {
            continue;
        }
        gsize length = (gsize)(space - row->name) + 1;
        const char *next = row[1].name;
        g_string_append_printf(verbs, "%s%s", verbs->len > 0 ? " " : "", space + 1);
        /* The commands of a noun stand together. */
        if (next == NULL || strncmp(next, row->name, length) != 0) {
            g_autofree char *noun = g_strndup(row->name, length - 1);
            printf(form, noun, verbs->str, kind_of_command(noun));
            g_string_truncate(verbs, 0);
        }
    }
}

static void
print_bash(void)
{
    g_autofree char *words = first_words();
    printf("# bash completion for lodge\n"
           "_lodge() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} verbs= own= options= "
           "kind=\n"
           "    if ((COMP_CWORD == 1)); then\n"
           "        COMPREPLY=($(compgen -W '%s' -- \"$word\")); return\n"
           "    fi\n"
           "    case $command in\n",
           words);
    print_noun_cases("    %s) verbs='%s' own='%s' ;;\n");
    printf("    esac\n"
           "    [[ -z $own ]] || own=$(lodge __names \"$own\" 2>/dev/null)\n"
           "    if [[ -n $verbs && $word != -* ]] && ((COMP_CWORD == 2)); then\n"
           "        COMPREPLY=($(compgen -W \"$verbs $own\" -- \"$word\")); return\n"
           "    fi\n"
           "    [[ -z $verbs || \" $verbs \" != *\" ${COMP_WORDS[2]} \"* ]] || command=\"$command "
           "${COMP_WORDS[2]}\"\n"
           "    case $command in\n");
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        g_autofree char *options = option_words(row);
        const char *kind = word_kind(row->words);
        printf("    '%s') options='%s' kind='%s' ;;\n", row->name, options,
               kind != NULL ? kind : "");
    }
    printf("    esac\n"
           "    case ${COMP_WORDS[COMP_CWORD-1]} in\n"
           "    --os) kind=systems ;;\n"
           "    --image) kind=images ;;\n"
           "    --disk|--user-data|--ssh-key|--password-file) compopt -o default; return ;;\n"
           "    esac\n"
           "    if [[ $word == -* ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
           "    elif [[ -n $kind ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$(lodge __names \"$kind\" 2>/dev/null)\" -- "
           "\"$word\"))\n"
           "    else\n"
           "        compopt -o default\n"
           "    fi\n"
           "}\n"
           "complete -F _lodge lodge\n");
}

static void
print_fish(void)
{
    puts("# fish completion for lodge\ncomplete -c lodge -f");
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        g_auto(GStrv) words = g_strsplit(row->name, " ", 2);
        const char *kind = word_kind(row->words);
        g_autofree char *summary = g_strescape(row->summary, "…“”");
        const char *condition = words[1] != NULL ? words[1] : words[0];
        if (words[1] == NULL) {
            printf("complete -c lodge -n __fish_use_subcommand -a %s -d \"%s\"\n", words[0],
                   summary);
        } else {
            printf("complete -c lodge -n __fish_use_subcommand -a %s\n"
                   "complete -c lodge -n '__fish_seen_subcommand_from %s' -a %s -d \"%s\"\n",
                   words[0], words[0], words[1], summary);
        }
        if (kind != NULL) {
            printf(
                "complete -c lodge -n '__fish_seen_subcommand_from %s' -a '(lodge __names %s)'\n",
                condition, kind);
        }
        for (const GOptionEntry *option = row->options; option != NULL && option->long_name != NULL;
             option++) {
            printf("complete -c lodge -n '__fish_seen_subcommand_from %s' -l %s%s\n", condition,
                   option->long_name, option->arg == G_OPTION_ARG_NONE ? "" : " -r -F");
        }
    }
    puts("complete -c lodge -n '__fish_seen_subcommand_from create' -l os -x -a '(lodge __names "
         "systems)'\n"
         "complete -c lodge -n '__fish_seen_subcommand_from create' -l image -x -a '(lodge __names "
         "images)'");
}

gboolean
lodge_print_completion(const char *shell, GError **error)
{
    if (g_str_equal(shell, "fish")) {
        print_fish();
    } else if (g_str_equal(shell, "bash")) {
        print_bash();
    } else if (g_str_equal(shell, "zsh")) {
        /* zsh runs bash's functions, and says how. */
        puts("#compdef lodge\nautoload -U +X bashcompinit && bashcompinit");
        print_bash();
    } else {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "completion: “%s” is not one of bash, zsh, fish", shell);
    }
    return TRUE;
}
