/* The parked machines of an image, as `image show` has them. */
#pragma once

#include <jansson.h>

#include "store/store.h"

/* [{"cpus", "memory_bytes", "kvm", "qemu", "made", "key", "allocated_bytes"}]. New reference. */
json_t *lodge_parked_json(const LodgeStore *store, const char *image);

/* A line for each. */
void lodge_parked_print(const LodgeStore *store, const char *image);
