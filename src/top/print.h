/* A sample for programs and logs. */
#pragma once

#include <jansson.h>

#include "top/sample.h"

/* {"time_ms", "host": {…}, "guests": [{…}]}; what is unknown is null. New reference. */
json_t *top_json(const TopSample *sample);

/* CSV with a line of titles if @titles. */
void top_print_csv(const TopSample *sample, gboolean titles);

/* A plain table, a line a guest, below a line about the host. */
void top_print_table(const TopSample *sample);

/* The line about the host. Free with g_free. */
char *top_host_words(const TopSample *sample);

/* For cells: "12.5", "1.2M" (bytes or bytes a second), "–" where unknown. Free with g_free. */
char *top_percent_words(double percent);
char *top_bytes_words(double size_bytes);
