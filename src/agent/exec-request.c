#include <stdlib.h>

#include "agent/exec.h"
#include "agent/message.h"

enum {
    ARGUMENTS_AT_MOST = 16384,
};

void
program_clear(Program *program)
{
    for (size_t i = 0; program->argv != NULL && program->argv[i] != NULL; i++) {
        free(program->argv[i]);
    }
    for (size_t i = 0; program->variables != NULL && program->variables[i] != NULL; i++) {
        free(program->variables[i]);
    }
    free(program->argv);
    free(program->variables);
    free(program->folder);
    free(program->user);
}

static bool
take_text(char **target, const Field *field)
{
    free(*target);
    *target = field_text(field);
    return *target != NULL;
}

static bool
take_number(uint64_t *target, const Field *field, uint64_t highest)
{
    return field_number(field, target) && *target <= highest;
}

bool
program_parse(FieldReader *fields, Program *program)
{
    size_t argument_count = 0, variable_count = 0;
    uint64_t rows = 24, columns = 80;
    Field field;
    bool fine = true;
    program->argv = calloc(ARGUMENTS_AT_MOST + 1, sizeof *program->argv);
    program->variables = calloc(ARGUMENTS_AT_MOST + 1, sizeof *program->variables);
    if (program->argv == NULL || program->variables == NULL) {
        return false;
    }
    while (fine && field_next(fields, &field) > 0) {
        switch (field.tag) {
        case FIELD_ARGUMENT:
            fine = argument_count < ARGUMENTS_AT_MOST &&
                   take_text(&program->argv[argument_count++], &field);
            break;
        case FIELD_VARIABLE:
            fine = variable_count < ARGUMENTS_AT_MOST && field.length > 0 &&
                   memchr(field.value + 1, '=', field.length - 1) != NULL &&
                   take_text(&program->variables[variable_count++], &field);
            break;
        case FIELD_FOLDER:
            fine = take_text(&program->folder, &field);
            break;
        case FIELD_USER:
            fine = take_text(&program->user, &field);
            break;
        case FIELD_FLAGS:
            fine = field_number(&field, &program->flags);
            break;
        case FIELD_ROWS:
            fine = take_number(&rows, &field, UINT16_MAX);
            break;
        case FIELD_COLUMNS:
            fine = take_number(&columns, &field, UINT16_MAX);
            break;
        default: /* from a newer host */
            break;
        }
    }
    program->rows = (uint16_t)rows;
    program->columns = (uint16_t)columns;
    return fine && argument_count > 0;
}
