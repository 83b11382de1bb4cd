/* A YAML document checked against a table of options, and back: what config.c stands on.
 *
 * A Table describes a mapping, a Row one key of it. In memory a mapping is an array of Slots, one per row in the
 * table's order; every value stays the text that was written, because only config.c knows what "10m" or "90%" means
 * to an option. The Doc remembers where in the file each key path stands, so that whoever finds a value wrong later
 * can still say file, line and column. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

#include "util/buf.h"
#include "util/error.h"

struct Kind;
struct Loader;
struct Path;
struct Slot;

typedef struct Row {
        const char *key;
        const struct Kind *kind;    /* a value, or a list of them: how it is written and kept (config.c) */
        uint32_t offset, width;     /* of the member it is kept in; of a list, the pointer */
        const char *def;            /* default as one would write it; NULL: none */
        uint64_t min, max;          /* bounds of a quantity; of a list, its entries */
        bool required;
        const struct Table *table;  /* instead of a kind: a mapping; or a list of mappings */
        bool list;
        uint32_t count_offset;      /* of a list: the uint32_t member that counts its entries */
} Row;

typedef struct Table {
        const Row *rows;
        size_t n_rows;
        size_t size;                /* of the struct a mapping is turned into */
        size_t base;                /* offset in Config of the record a new one starts from; 0: the rows' defaults */
        /* (optional) What no single row can see. */
        int (*check)(struct Loader *l, const struct Path *at, const struct Slot *slots, void *record);
} Table;

typedef struct Slot {
        union {
                char *text;         /* NULL: not given */
                char **texts;       /* list of values */
                struct Slot *slots; /* a mapping's, or those of all of a list's mappings in a row */
        };
        uint32_t n;                 /* entries of a list */
} Slot;

/* A place in the document: "pools[1].device" is three links, innermost first. NULL is the document itself. */
typedef struct Path {
        const struct Path *parent;
        const char *key;            /* NULL: an entry of a list */
        uint32_t index;             /* from 0 */
} Path;

typedef struct Doc {
        const char *file;           /* for messages; borrowed */
        yaml_document_t yaml;
        bool loaded;                /* else there is no file, or nothing in it */
        const Table *table;
        Slot *slots;                /* of the top mapping; NULL when the file says nothing */
} Doc;

#define DOC_NULL ((Doc){0})

/* Reads `text`: one YAML document at most, whose shape is that of `table`. -EINVAL with a sentence, -ENOMEM. */
int doc_load(Doc *d, const char *file, const char *text, size_t len, const Table *table, Error *e);
void doc_deinit(Doc *d);
/* Fills `e` with "FILE:LINE:COLUMN: PATH: …" and returns -EINVAL. */
int doc_error(const Doc *d, const Path *at, Error *e, const char *fmt, ...) _printf_(4, 5);

/* `text` cut and cleaned so that it can be quoted inside one line. */
const char *quotable(const char *text, char *buf, size_t n);

/* Writes `slots`, which are `table`'s, as YAML. -ENOMEM. */
int slots_print(const Table *table, const Slot *slots, Buf *out);
/* `slots` and all they hold come from malloc. */
void slots_free(const Table *table, Slot *slots);
