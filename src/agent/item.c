#include "agent/item.h"

#include <stdlib.h>

bool
file_request_parse(FieldReader *fields, FileRequest *out_request)
{
    FileRequest *request = out_request;
    bool has_uid = false, has_gid = false, fine = true;
    Field field;
    *request = (FileRequest){0};
    while (fine && field_next(fields, &field) > 0) {
        switch (field.tag) {
        case FIELD_PATH:
            free(request->path);
            request->path = field_text(&field);
            fine = request->path != NULL && request->path[0] == '/';
            break;
        case FIELD_TARGET:
            free(request->target);
            request->target = field_text(&field);
            fine = request->target != NULL;
            break;
        case FIELD_FLAGS:
            fine = field_number(&field, &request->flags);
            break;
        case FIELD_MODE:
            fine = request->has_mode = field_number(&field, &request->mode);
            break;
        case FIELD_UID:
            fine = has_uid = field_number(&field, &request->uid);
            break;
        case FIELD_GID:
            fine = has_gid = field_number(&field, &request->gid);
            break;
        case FIELD_SIZE:
            fine = request->has_size = field_number(&field, &request->size);
            break;
        case FIELD_MTIME:
            fine = request->has_mtime = field_number(&field, &request->mtime);
            break;
        default: /* from a newer host */
            break;
        }
    }
    request->has_owner = has_uid && has_gid;
    return fine && request->path != NULL;
}

void
file_request_clear(FileRequest *request)
{
    free(request->path);
    free(request->target);
    request->path = NULL;
    request->target = NULL;
}

static FileKind
kind_of(mode_t mode)
{
    return S_ISREG(mode)   ? KIND_FILE
           : S_ISDIR(mode) ? KIND_FOLDER
           : S_ISLNK(mode) ? KIND_SYMLINK
                           : KIND_OTHER;
}

void
item_fill(Message *message, const char *path, const struct stat *about, const char *target)
{
    int64_t mtime = (int64_t)about->st_mtim.tv_sec * 1000000000 + about->st_mtim.tv_nsec;
    message_text(message, FIELD_PATH, path);
    message_number(message, FIELD_KIND, kind_of(about->st_mode));
    message_number(message, FIELD_MODE, about->st_mode & 07777);
    message_number(message, FIELD_UID, about->st_uid);
    message_number(message, FIELD_GID, about->st_gid);
    message_number(message, FIELD_SIZE, (uint64_t)about->st_size);
    message_number(message, FIELD_MTIME, mtime < 0 ? 0 : (uint64_t)mtime);
    if (target != NULL) {
        message_text(message, FIELD_TARGET, target);
    }
}
