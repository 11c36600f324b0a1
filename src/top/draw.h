/* What stands on the screen: drawing only, no state of its own. Private to lodge-top. */
#pragma once

#include <glib.h>

#include "top/sample.h"

enum {
    HISTORY = 60,
};

/* A guest's CPU use so far, oldest first. */
typedef struct {
    double values[HISTORY];
    gsize count;
} History;

typedef struct {
    const TopSample *sample;
    GPtrArray *shown;      /* TopGuest *, filtered and in order; borrowed from the sample */
    GHashTable *histories; /* name -> History * */
    const char *sort;
    const char *filter; /* "" none */
    const char *message;
    guint selected;
    double interval_s;
} View;

void draw_list(const View *view);
void draw_guest(const View *view, const TopGuest *guest, gint64 pss_bytes, const char *folder);
void draw_help(void);
/* The last line: a question or what is being typed. */
void draw_prompt(const char *text);
