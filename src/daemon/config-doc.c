/* YAML text into Slots and back.
 *
 * libyaml says whether the text is YAML and where everything stands; libcyaml says whether the document has the shape
 * of the schema (unknown, missing and repeated keys, lists and mappings in their places) and moves it between text and
 * memory. Both read the text because neither can do the other's part: libcyaml 1.3 knows the line of what it read
 * *before* the offending key, and none at all of a syntax error. What it does know is the key path, from the backtrace
 * it logs; libyaml's document turns that into line and column.
 *
 * The schema libcyaml wants is made from our tables: every value is a string to it.
 *
 * No text may cost much: events are counted before a document is composed of them (libyaml takes quadratic time for
 * deep nesting and for many anchors), and the document is walked with its aliases followed before libcyaml sees the
 * text, so that neither a loop nor an exponential expansion reaches it. */
#include <assert.h>
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/config-doc.h"
#include "util/str.h"

enum {
        DEPTH_MAX = 16,         /* of nested lists and mappings; the deepest option has four */
        ANCHORS_MAX = 1000,
        NODES_MAX = 1 << 18,    /* with aliases followed */
        BYTES_MAX = 4 << 20,    /* of text, likewise */
        TEXT_MAX = 4096,        /* of one value */
        FIELDS_MAX = 128,       /* rows of all tables, each table ended by an empty one */
        TABLES_MAX = 16,
};

/* Places and messages */

static void path_print(const Path *at, Buf *out) {
        if (at->parent)
                path_print(at->parent, out);
        if (at->key)
                buf_printf(out, "%s%s", at->parent ? "." : "", at->key);
        else
                buf_printf(out, "[%u]", at->index);
}

static const yaml_node_t *get_node(const Doc *d, int id) {
        return yaml_document_get_node((yaml_document_t *)&d->yaml, id);
}

static const yaml_node_t *root_node(const Doc *d) {
        return yaml_document_get_root_node((yaml_document_t *)&d->yaml);
}

static const char *scalar(const yaml_node_t *node) {
        return (const char *)node->data.scalar.value;
}

/* The last pair of `mapping` with this key: where one is repeated, the repetition is what is wrong. */
static const yaml_node_pair_t *find_pair(const Doc *d, const yaml_node_t *mapping, const char *key) {
        const yaml_node_pair_t *p = mapping->data.mapping.pairs.top;
        while (p-- > mapping->data.mapping.pairs.start)
                if (strcmp(scalar(get_node(d, p->key)), key) == 0)
                        return p;
        return NULL;
}

static const yaml_node_t *find_node(const Doc *d, const Path *at) {
        if (!at)
                return root_node(d);
        const yaml_node_t *in = find_node(d, at->parent);
        if (in && at->key && in->type == YAML_MAPPING_NODE) {
                const yaml_node_pair_t *pair = find_pair(d, in, at->key);
                return pair ? get_node(d, pair->value) : NULL;
        }
        if (in && !at->key && in->type == YAML_SEQUENCE_NODE) {
                const yaml_node_item_t *item = in->data.sequence.items.start + at->index;
                return item < in->data.sequence.items.top ? get_node(d, *item) : NULL;
        }
        return NULL;
}

static int errorv(const Doc *d, const yaml_mark_t *mark, const Path *at, Error *e, const char *fmt, va_list args) {
        _cleanup_buf_ Buf b = BUF_NULL;
        if (at) {
                path_print(at, &b);
                buf_puts(&b, ": ");
        }
        char text[sizeof(e->text)];
        vsnprintf(text, sizeof(text), fmt, args);
        buf_puts(&b, text);
        if (!mark)
                return error_set(e, -EINVAL, "%s: %s", d->file, b.data ?: text);
        return error_set(e, -EINVAL, "%s:%zu:%zu: %s", d->file, mark->line + 1, mark->column + 1, b.data ?: text);
}

static int _printf_(5, 6)
error_at(const Doc *d, const yaml_mark_t *mark, const Path *at, Error *e, const char *fmt, ...) {
        va_list args;
        va_start(args, fmt);
        int r = errorv(d, mark, at, e, fmt, args);
        va_end(args);
        return r;
}

int doc_error(const Doc *d, const Path *at, Error *e, const char *fmt, ...) {
        const yaml_node_t *node = NULL;
        if (d->loaded) {
                const Path *p = at; /* of what the file leaves out, the place it would be in */
                while (!(node = find_node(d, p)) && p)
                        p = p->parent;
        }
        va_list args;
        va_start(args, fmt);
        int r = errorv(d, node ? &node->start_mark : NULL, at, e, fmt, args);
        va_end(args);
        return r;
}

const char *quotable(const char *text, char *buf, size_t n) {
        size_t len = strlen(text), shown = len < n ? len : n - 4;
        shown = utf8_valid_prefix(text, shown, &(bool){false});
        memcpy(buf, text, shown);
        strcpy(buf + shown, shown < len ? "..." : "");
        for (char *p = buf; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        *p = '?';
        return buf;
}

/* libyaml: is it YAML, and of a size to be let further in? */

/* What the reader rejects (bytes that are no UTF-8, control characters) has an offset but no mark. */
static yaml_mark_t mark_of_offset(const char *text, size_t len, size_t offset) {
        yaml_mark_t m = {.index = offset};
        for (size_t i = 0; i < offset && i < len; i++)
                if (text[i] == '\n') {
                        m.line++;
                        m.column = 0;
                } else if (((unsigned char)text[i] & 0xc0) != 0x80)
                        m.column++;
        return m;
}

static int syntax_error(const Doc *d, const yaml_parser_t *p, const char *text, size_t len, Error *e) {
        yaml_mark_t mark = p->problem_mark;
        if (p->error == YAML_MEMORY_ERROR)
                return error_set(e, -ENOMEM, "%s: out of memory", d->file);
        if (p->error == YAML_READER_ERROR)
                mark = mark_of_offset(text, len, p->problem_offset);
        const char *problem = p->problem ?: "cannot be parsed";
        if (p->context && p->error != YAML_READER_ERROR)
                return error_at(d, &mark, NULL, e, "not valid YAML: %s %s", problem, p->context);
        return error_at(d, &mark, NULL, e, "not valid YAML: %s", problem);
}

static bool has_anchor(const yaml_event_t *ev) {
        switch (ev->type) {
        case YAML_SCALAR_EVENT:
                return ev->data.scalar.anchor;
        case YAML_SEQUENCE_START_EVENT:
                return ev->data.sequence_start.anchor;
        case YAML_MAPPING_START_EVENT:
                return ev->data.mapping_start.anchor;
        default:
                return false;
        }
}

typedef struct Scan {
        int depth, anchors, documents;
        bool end;
} Scan;

static int scan_event(const Doc *d, Scan *s, const yaml_event_t *ev, Error *e) {
        s->documents += ev->type == YAML_DOCUMENT_START_EVENT;
        s->depth += ev->type == YAML_SEQUENCE_START_EVENT || ev->type == YAML_MAPPING_START_EVENT;
        s->depth -= ev->type == YAML_SEQUENCE_END_EVENT || ev->type == YAML_MAPPING_END_EVENT;
        s->anchors += has_anchor(ev);
        s->end = ev->type == YAML_STREAM_END_EVENT;
        if (s->documents > 1)
                return error_at(d, &ev->start_mark, NULL, e, "expected one document, but a second one starts here");
        if (s->depth > DEPTH_MAX)
                return error_at(d, &ev->start_mark, NULL, e, "nested more than %d deep", DEPTH_MAX);
        if (s->anchors > ANCHORS_MAX)
                return error_at(d, &ev->start_mark, NULL, e, "expected at most %d anchors", ANCHORS_MAX);
        return 0;
}

/* One pass that builds nothing: deep nesting and many anchors cost the passes after it quadratic time. */
static int scan_events(Doc *d, yaml_parser_t *p, const char *text, size_t len, Error *e) {
        int r = 0;
        for (Scan s = {0}; !r && !s.end;) {
                yaml_event_t ev;
                if (!yaml_parser_parse(p, &ev))
                        return syntax_error(d, p, text, len, e);
                r = scan_event(d, &s, &ev, e);
                yaml_event_delete(&ev);
        }
        return r;
}

static int compose(Doc *d, yaml_parser_t *p, const char *text, size_t len, Error *e) {
        if (!yaml_parser_load(p, &d->yaml))
                return syntax_error(d, p, text, len, e);
        d->loaded = true;
        return 0;
}

typedef int (*Pass)(Doc *d, yaml_parser_t *p, const char *text, size_t len, Error *e);

static int run_pass(Doc *d, Pass pass, const char *text, size_t len, Error *e) {
        yaml_parser_t parser;
        if (!yaml_parser_initialize(&parser))
                return error_set(e, -ENOMEM, "%s: out of memory", d->file);
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
        int r = pass(d, &parser, text, len, e);
        yaml_parser_delete(&parser);
        return r;
}

typedef struct Walk {
        const Doc *doc;
        Error *error;
        size_t nodes, bytes;
} Walk;

static int _printf_(3, 4) walk_error(const Walk *w, const yaml_node_t *node, const char *fmt, ...) {
        va_list args;
        va_start(args, fmt);
        int r = errorv(w->doc, &node->start_mark, NULL, w->error, fmt, args);
        va_end(args);
        return r;
}

static int walk_node(Walk *w, int id, int depth);

static int walk_scalar(Walk *w, const yaml_node_t *node) {
        w->bytes += node->data.scalar.length;
        if (memchr(node->data.scalar.value, 0, node->data.scalar.length))
                return walk_error(w, node, "expected text without NUL characters");
        return 0;
}

static int walk_list(Walk *w, const yaml_node_t *node, int depth) {
        int r = 0;
        const yaml_node_item_t *end = node->data.sequence.items.top;
        for (const yaml_node_item_t *i = node->data.sequence.items.start; !r && i < end; i++)
                r = walk_node(w, *i, depth + 1);
        return r;
}

static int walk_mapping(Walk *w, const yaml_node_t *node, int depth) {
        int r = 0;
        const yaml_node_pair_t *end = node->data.mapping.pairs.top;
        for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; !r && p < end; p++) {
                const yaml_node_t *key = get_node(w->doc, p->key);
                if (key->type != YAML_SCALAR_NODE)
                        return walk_error(w, key, "expected a word as key");
                r = walk_scalar(w, key) ?: walk_node(w, p->value, depth + 1);
        }
        return r;
}

static int walk_node(Walk *w, int id, int depth) {
        const yaml_node_t *node = get_node(w->doc, id);
        if (depth > DEPTH_MAX)
                return walk_error(w, node, "nested more than %d deep once its aliases are followed", DEPTH_MAX);
        if (++w->nodes > NODES_MAX || w->bytes > BYTES_MAX)
                return walk_error(w, node, "too large once its aliases are followed");
        if (node->type == YAML_SCALAR_NODE)
                return walk_scalar(w, node);
        return node->type == YAML_SEQUENCE_NODE ? walk_list(w, node, depth) : walk_mapping(w, node, depth);
}

/* libcyaml: has it the shape of the table? */

typedef struct Schema {
        cyaml_schema_value_t top;
        cyaml_schema_field_t fields[FIELDS_MAX];
        cyaml_schema_value_t entries[TABLES_MAX];
        size_t n_fields, n_entries;
} Schema;

static const cyaml_schema_value_t text_schema = {
        .type = CYAML_STRING,
        .flags = CYAML_FLAG_POINTER,
        .data_size = sizeof(char),
        .string = {.min = 0, .max = TEXT_MAX},
};

static cyaml_schema_value_t schema_mapping(Schema *s, const Table *table);

static cyaml_schema_value_t schema_list(Schema *s, const Row *row) {
        const cyaml_schema_value_t *entry = &text_schema;
        if (row->table) {
                assert(s->n_entries < TABLES_MAX);
                cyaml_schema_value_t *e = &s->entries[s->n_entries++];
                *e = schema_mapping(s, row->table);
                entry = e;
        }
        return (cyaml_schema_value_t){
                .type = CYAML_SEQUENCE, .flags = CYAML_FLAG_POINTER,
                .data_size = row->table ? entry->data_size : sizeof(char *),
                .sequence = {.entry = entry, .min = (uint32_t)row->min, .max = (uint32_t)row->max},
        };
}

static cyaml_schema_field_t schema_field(Schema *s, const Row *row, size_t slot) {
        cyaml_schema_field_t f = {.key = row->key, .data_offset = (uint32_t)(slot * sizeof(Slot))};
        if (row->list) {
                f.value = schema_list(s, row);
                f.count_offset = f.data_offset + (uint32_t)offsetof(Slot, n);
                f.count_size = sizeof(uint32_t);
        } else
                f.value = row->table ? schema_mapping(s, row->table) : text_schema;
        bool inner = f.value.type == CYAML_MAPPING;
        f.value.flags |= (inner ? CYAML_FLAG_POINTER : 0) | (row->required ? 0 : CYAML_FLAG_OPTIONAL);
        return f;
}

static cyaml_schema_value_t schema_mapping(Schema *s, const Table *table) {
        cyaml_schema_field_t *fields = s->fields + s->n_fields;
        s->n_fields += table->n_rows + 1;
        assert(s->n_fields <= FIELDS_MAX);
        for (size_t i = 0; i < table->n_rows; i++)
                fields[i] = schema_field(s, &table->rows[i], i);
        return (cyaml_schema_value_t){
                .type = CYAML_MAPPING,
                .data_size = (uint32_t)(table->n_rows * sizeof(Slot)),
                .mapping = {.fields = fields},
        };
}

static void schema_init(Schema *s, const Table *table) {
        *s = (Schema){0};
        s->top = schema_mapping(s, table);
        s->top.flags = CYAML_FLAG_POINTER;
}

/* What libcyaml logs about an error: first what is wrong, then where, innermost first. */
typedef struct Trace {
        char problem[128];
        Path at[DEPTH_MAX];
        char keys[DEPTH_MAX][32];
        size_t n;
} Trace;

static void _printf_(3, 0) trace_line(cyaml_log_t level, void *ctx, const char *fmt, va_list args) {
        Trace *t = ctx;
        char line[sizeof(t->problem)];
        vsnprintf(line, sizeof(line), fmt, args);
        line[strcspn(line, "\n")] = 0;
        if (!*t->problem)
                strcpy(t->problem, line);
        if (t->n == DEPTH_MAX)
                return;
        Path *p = &t->at[t->n];
        *p = (Path){0};
        if (sscanf(line, "  in mapping field '%31[^']'", t->keys[t->n]) == 1)
                p->key = t->keys[t->n];
        else if (sscanf(line, "  in sequence entry '%u'", &p->index) == 1)
                p->index -= p->index > 0;
        else
                return;
        if (t->n++)
                p[-1].parent = p;
}

/* The row a path leads to; NULL for the document. An entry is told by its list's row. */
static const Row *find_row(const Table *top, const Path *at) {
        if (!at || !at->key)
                return at ? find_row(top, at->parent) : NULL;
        const Row *in = find_row(top, at->parent);
        const Table *table = in ? in->table : top;
        for (size_t i = 0; table && i < table->n_rows; i++)
                if (strcmp(table->rows[i].key, at->key) == 0)
                        return &table->rows[i];
        return NULL;
}

static int unknown_key(const Doc *d, const Table *table, const Path *at, Error *e) {
        const yaml_node_t *mapping = find_node(d, at);
        if (!table || !mapping || mapping->type != YAML_MAPPING_NODE)
                return doc_error(d, at, e, "unknown key");
        const char *words[FIELDS_MAX] = {0};
        for (size_t i = 0; i < table->n_rows; i++)
                words[i] = table->rows[i].key;
        for (yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < mapping->data.mapping.pairs.top; p++) {
                const yaml_node_t *key = get_node(d, p->key);
                const char *text = scalar(key);
                size_t known = 0;
                while (words[known] && strcmp(words[known], text) != 0)
                        known++;
                if (words[known])
                        continue;
                char got[48];
                const char *near = nearest_word(text, words);
                quotable(text, got, sizeof(got));
                if (!near)
                        return error_at(d, &key->start_mark, at, e, "unknown key '%s'", got);
                return error_at(d, &key->start_mark, at, e, "unknown key '%s', did you mean '%s'?", got, near);
        }
        return doc_error(d, at, e, "unknown key");
}

static int repeated_key(const Doc *d, const Path *at, Error *e) {
        const yaml_node_t *mapping = find_node(d, at ? at->parent : NULL);
        if (!at || !at->key || !mapping || mapping->type != YAML_MAPPING_NODE)
                return doc_error(d, at, e, "given twice");
        const yaml_node_pair_t *pair = find_pair(d, mapping, at->key);
        const yaml_node_t *key = pair ? get_node(d, pair->key) : NULL;
        return error_at(d, key ? &key->start_mark : NULL, at, e, "given twice");
}

static int wrong_shape(const Doc *d, const Row *row, const Path *at, Error *e) {
        const yaml_node_t *node = find_node(d, at);
        bool entry = at && !at->key;
        const char *expected = "a mapping of keys to values";
        if (row && row->list && !entry)
                expected = "a list";
        else if (row && !row->table)
                expected = "a single value";
        if (node && node->type == YAML_SCALAR_NODE && node->data.scalar.length > 0) {
                char got[48];
                return doc_error(d, at, e, "expected %s (got '%s')", expected,
                                 quotable(scalar(node), got, sizeof(got)));
        }
        const char *got = "nothing";
        if (node && node->type != YAML_SCALAR_NODE)
                got = node->type == YAML_SEQUENCE_NODE ? "a list" : "a mapping";
        return doc_error(d, at, e, "expected %s (got %s)", expected, got);
}

static int schema_error(const Doc *d, cyaml_err_t err, const Trace *t, Error *e) {
        const Path *at = t->n ? &t->at[0] : NULL;
        /* Of what is missing or too much, the trace names the last entry or key that was fine. */
        const Path *list = at && !at->key ? at->parent : at;
        const Path *entry = at && at->key ? at->parent : at;
        const Row *row = find_row(d->table, at);
        const char *name = strrchr(t->problem, ' ') ?: "";
        switch (err) {
        case CYAML_ERR_OOM:
                return error_set(e, -ENOMEM, "%s: out of memory", d->file);
        case CYAML_ERR_INVALID_KEY:
                return unknown_key(d, row ? row->table : d->table, at, e);
        case CYAML_ERR_MAPPING_FIELD_MISSING:
                return doc_error(d, entry, e, "a key is missing: expected '%s'", name + (*name == ' '));
        case CYAML_ERR_UNEXPECTED_EVENT:
                return repeated_key(d, at, e);
        case CYAML_ERR_INVALID_VALUE:
                return wrong_shape(d, row, at, e);
        case CYAML_ERR_STRING_LENGTH_MAX:
                return doc_error(d, at, e, "expected at most %d bytes", TEXT_MAX);
        case CYAML_ERR_SEQUENCE_ENTRIES_MIN:
                return doc_error(d, list, e, "expected at least one entry");
        case CYAML_ERR_SEQUENCE_ENTRIES_MAX:
                return doc_error(d, list, e, "expected at most %ju entries", (uintmax_t)(row ? row->max : 0));
        default:
                return doc_error(d, at, e, "%s", *t->problem ? t->problem : cyaml_strerror(err));
        }
}

static int load_slots(Doc *d, const char *text, size_t len, Error *e) {
        Schema schema;
        schema_init(&schema, d->table);
        Trace trace = {0};
        const cyaml_config_t config = {
                .log_fn = trace_line, .log_ctx = &trace, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR,
        };
        cyaml_data_t *data = NULL;
        cyaml_err_t err = cyaml_load_data((const uint8_t *)text, len, &config, &schema.top, &data, NULL);
        if (err != CYAML_OK)
                return schema_error(d, err, &trace, e);
        d->slots = data;
        return 0;
}

int doc_load(Doc *d, const char *file, const char *text, size_t len, const Table *table, Error *e) {
        d->file = file;
        d->table = table;
        int r = run_pass(d, scan_events, text, len, e) ?: run_pass(d, compose, text, len, e);
        if (r < 0 || !root_node(d))
                return r;
        Walk walk = {.doc = d, .error = e};
        return walk_node(&walk, 1, 1) ?: load_slots(d, text, len, e);
}

void doc_deinit(Doc *d) {
        if (d->loaded)
                yaml_document_delete(&d->yaml);
        slots_free(d->table, d->slots);
        *d = DOC_NULL;
}

int slots_print(const Table *table, const Slot *slots, Buf *out) {
        Schema schema;
        schema_init(&schema, table);
        const cyaml_config_t config = {.mem_fn = cyaml_mem, .flags = CYAML_CFG_STYLE_BLOCK};
        char *text = NULL;
        size_t len;
        if (cyaml_save_data(&text, &len, &config, &schema.top, slots, 0) != CYAML_OK)
                return -ENOMEM;
        buf_put(out, text, len);
        free(text);
        return out->failed ? -ENOMEM : 0;
}

void slots_free(const Table *table, Slot *slots) {
        if (!slots)
                return;
        Schema schema;
        schema_init(&schema, table);
        const cyaml_config_t config = {.mem_fn = cyaml_mem};
        cyaml_free(&config, &schema.top, slots, 0);
}
