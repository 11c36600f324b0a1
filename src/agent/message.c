#include "agent/message.h"

#include <stdlib.h>

Message *
message_begin(void)
{
    static Message message;
    message.length = 0;
    message.is_full = false;
    return &message;
}

void
message_bytes(Message *message, uint8_t tag, const void *bytes, size_t length)
{
    if (length > sizeof message->bytes - message->length ||
        HEADER_BYTES > sizeof message->bytes - message->length - length) {
        message->is_full = true;
        return;
    }
    header_write(message->bytes + message->length, tag, (uint32_t)length);
    if (length > 0) {
        memcpy(message->bytes + message->length + HEADER_BYTES, bytes, length);
    }
    message->length += HEADER_BYTES + length;
}

void
message_text(Message *message, uint8_t tag, const char *text)
{
    message_bytes(message, tag, text, strlen(text));
}

void
message_number(Message *message, uint8_t tag, uint64_t number)
{
    uint8_t value[8];
    number_write(value, number);
    message_bytes(message, tag, value, sizeof value);
}

char *
field_text(const Field *field)
{
    if (memchr(field->value, '\0', field->length) != NULL) {
        return NULL;
    }
    char *text = malloc(field->length + 1);
    if (text != NULL) {
        memcpy(text, field->value, field->length);
        text[field->length] = '\0';
    }
    return text;
}

bool
field_copy(const Field *field, char *out_text, size_t size)
{
    if (field->length >= size || memchr(field->value, '\0', field->length) != NULL) {
        return false;
    }
    memcpy(out_text, field->value, field->length);
    out_text[field->length] = '\0';
    return true;
}
