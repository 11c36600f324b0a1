/* Building payloads of fields, and taking them apart. */
#pragma once

#include <stdbool.h>

#include "agent/protocol.h"

/* A payload under construction. What does not fit is left out, and `is_full` set. */
typedef struct {
    uint8_t bytes[FRAME_LIMIT];
    size_t length;
    bool is_full;
} Message;

/* There is one at a time: it is large, and every user fills and sends it at one stroke. */
Message *message_begin(void);
void message_bytes(Message *message, uint8_t tag, const void *bytes, size_t length);
void message_text(Message *message, uint8_t tag, const char *text);
void message_number(Message *message, uint8_t tag, uint64_t number);

/* A text field's value as a C string of its own; NULL if it has a NUL in it or there is no memory.
 * To be freed. */
char *field_text(const Field *field);

/* The same into @out_text; false if it does not fit or has a NUL in it. */
bool field_copy(const Field *field, char *out_text, size_t size);
