/* Completion scripts. All they do is to ask `lodge __complete` (complete.c) and hand over what it
 * says in the way of their shell. */
#include "config.h"

#include <stdio.h>

#include "cli/cli.h"

/* The line is divided here, as bash takes memory=2G for three words; for the same reason it
 * replaces only what stands behind the last "=" or ":". */
static const char bash[] =
    "# bash completion for lodge\n"
    "_lodge() {\n"
    "    local line=${COMP_LINE:0:COMP_POINT} words word cut files=\n"
    "    read -ra words <<<\"$line\"\n"
    "    [[ $line != *[[:space:]] ]] || words+=('')\n"
    "    word=${words[${#words[@]}-1]}\n"
    "    cut=${word%\"${word##*[=:]}\"}\n"
    "    COMPREPLY=()\n"
    "    while IFS=$'\\t' read -r line _; do\n"
    "        [[ $line != *[=:] ]] || compopt -o nospace\n"
    "        if [[ $line == : ]]; then files=1; else COMPREPLY+=(\"${line#\"$cut\"}\"); fi\n"
    "    done < <(lodge __complete \"${words[@]:1}\" 2>/dev/null)\n"
    "    [[ -n $files ]] || return 0\n"
    "    compopt -o filenames +o nospace\n"
    "    while IFS= read -r line; do\n"
    "        COMPREPLY+=(\"$line\")\n"
    "    done < <(compgen -f -- \"${word#\"$cut\"}\")\n"
    "}\n"
    "complete -F _lodge lodge\n";

static const char zsh[] =
    "#compdef lodge\n"
    "_lodge() {\n"
    "    local -a whole open\n"
    "    local line word files=\n"
    "    for line in \"${(@f)$(lodge __complete \"${(@)words[2,CURRENT-1]}\" \"$PREFIX\" "
    "2>/dev/null)}\"; do\n"
    "        word=${line%%$'\\t'*} line=${line#*$'\\t'}\n"
    "        case $word in\n"
    "        '') ;;\n"
    "        :) files=1 ;;\n"
    "        *[=:]) open+=(\"${word//:/\\\\:}${line:+:$line}\") ;;\n"
    "        *) whole+=(\"${word//:/\\\\:}${line:+:$line}\") ;;\n"
    "        esac\n"
    "    done\n"
    "    (( ! $#whole )) || _describe -V lodge whole\n"
    "    (( ! $#open )) || _describe -V lodge open -S ''\n"
    "    [[ -z $files ]] || _files\n"
    "}\n"
    "if [[ $funcstack[1] == _lodge ]]; then _lodge \"$@\"; else compdef _lodge lodge; fi\n";

static const char fish[] =
    "# fish completion for lodge\n"
    "function __lodge_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l word (commandline -ct)\n"
    "    for line in (lodge __complete $words[2..-1] \"$word\" 2>/dev/null)\n"
    "        if test \"$line\" = :\n"
    "            __fish_complete_path \"$word\"\n"
    "        else\n"
    "            printf '%s\\n' \"$line\"\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c lodge -f -a '(__lodge_complete)'\n";

gboolean
lodge_print_completion(const char *shell, GError **error)
{
    const struct {
        const char *shell, *script;
    } scripts[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (gsize i = 0; i < G_N_ELEMENTS(scripts); i++) {
        if (g_str_equal(shell, scripts[i].shell)) {
            fputs(scripts[i].script, stdout);
            return TRUE;
        }
    }
    return lodge_error_set(error, LODGE_ERROR_USAGE,
                           "completion: “%s” is not one of bash, zsh, fish", shell);
}
