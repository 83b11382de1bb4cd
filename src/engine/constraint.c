/* See constraint.h. The bits found for a state are kept, since texts come back to the same few states: so most tokens
 * cost no more than a look. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/constraint.h"
#include "text/gbnf.h"
#include "text/json-grammar.h"
#include "text/pattern.h"
#include "text/schema.h"

enum {
        MASKS_MAX = 16,
        LITTLE_WORK = 2 * 1024,         /* some 100 microseconds, as each sequence of a step may come to it */
        ALL_WORK = 64 * 1024 * 1024,    /* a second, or less */
};

typedef struct Mask {
        uint32_t state;
        uint64_t used; /* when it was last */
        uint32_t *bits;
} Mask;

struct Constraint {
        Grammar *grammar;
        Matcher *matcher;
        const TokenTree *tree;
        uint32_t n_words, state, epoch;
        Mask masks[MASKS_MAX];
        uint32_t n_masks;
        uint64_t uses;
        const Mask *current; /* of the state; NULL: not found yet */
};

static int compile(const IpcJob *job, Grammar *g, Error *e) {
        char name[64];
        snprintf(name, sizeof(name), "%.*s", (int)job->grammar_name.len, job->grammar_name.data);
        if (job->grammar.len > IPC_GRAMMAR_MAX)
                return error_set(e, -EINVAL, "%s: has %u bytes; at most %d are possible", name, job->grammar.len, IPC_GRAMMAR_MAX);
        switch (job->grammar_kind) {
        case IPC_GRAMMAR_JSON:
                return grammar_finish(g, json_grammar(g).object, e);
        case IPC_GRAMMAR_SCHEMA:
                return schema_compile(name, job->grammar.data, job->grammar.len, g, e);
        case IPC_GRAMMAR_GBNF:
                return gbnf_compile(name, job->grammar.data, job->grammar.len, g, e);
        case IPC_GRAMMAR_PATTERN:
                return pattern_compile_plain(name, job->grammar.data, job->grammar.len, g, e);
        default:
                return error_set(e, -EINVAL, "%s: is of a kind, %u, that is not known", name, job->grammar_kind);
        }
}

int constraint_new(const IpcJob *job, const TokenTree *tree, uint32_t n_vocab, Constraint **ret, Error *e) {
        _cleanup_(constraint_freep) Constraint *c = calloc(1, sizeof(*c));
        int r = c ? grammar_new(&c->grammar) : -ENOMEM;
        if (r < 0)
                return error_set(e, r, "not enough memory for a grammar");
        r = compile(job, c->grammar, e);
        if (r < 0)
                return r;
        r = matcher_new(c->grammar, &c->matcher);
        if (r < 0)
                return error_set(e, r, "not enough memory for a grammar");
        c->tree = tree;
        c->n_words = constraint_words(n_vocab);
        c->state = matcher_start(c->matcher);
        if (c->state == MATCHER_DEAD)
                return error_set(e, -E2BIG, "%.*s: it leaves too many ways to begin to follow them all", (int)job->grammar_name.len,
                                 job->grammar_name.data);
        *ret = TAKE(c);
        return 0;
}

static void drop_masks(Constraint *c) {
        while (c->n_masks > 0)
                free(c->masks[--c->n_masks].bits);
        c->current = NULL;
}

void constraint_free(Constraint *c) {
        if (!c)
                return;
        drop_masks(c);
        matcher_free(c->matcher);
        grammar_free(c->grammar);
        free(c);
}

/* ---- following the text ---- */

bool constraint_accept(Constraint *c, const char *text, size_t len) {
        for (size_t i = 0; i < len; i++)
                c->state = matcher_step(c->matcher, (uint32_t[]){c->state}, 1, (uint8_t)text[i]);
        c->current = NULL;
        return c->state != MATCHER_DEAD;
}

bool constraint_is_done(const Constraint *c) {
        return c->state != MATCHER_DEAD && matcher_is_final(c->matcher, c->state);
}

/* ---- masks ---- */

static Mask *find_mask(Constraint *c) {
        for (uint32_t i = 0; i < c->n_masks; i++)
                if (c->masks[i].state == c->state)
                        return &c->masks[i];
        return NULL;
}

/* A new one, or the one that was used longest ago. */
static Mask *make_mask(Constraint *c) {
        Mask *m = &c->masks[0];
        if (c->n_masks < MASKS_MAX) {
                m = &c->masks[c->n_masks];
                *m = (Mask){.bits = malloc(c->n_words * sizeof(*m->bits))};
                c->n_masks += m->bits != NULL;
                return m->bits ? m : NULL;
        }
        for (uint32_t i = 1; i < c->n_masks; i++)
                if (c->masks[i].used < m->used)
                        m = &c->masks[i];
        return m;
}

static bool is_zero(const uint32_t *bits, uint32_t n) {
        for (uint32_t i = 0; i < n; i++)
                if (bits[i])
                        return false;
        return true;
}

/* 1, 0 or a negative as constraint_update(). */
static int fill_mask(Constraint *c, Mask *m, uint64_t most) {
        m->state = MATCHER_DEAD;
        m->used = 0;
        memset(m->bits, 0, c->n_words * sizeof(*m->bits));
        if (!token_tree_allowed(c->tree, c->matcher, &c->state, most, m->bits))
                return most == ALL_WORK ? -E2BIG : 0;
        if (is_zero(m->bits, c->n_words))
                return -EILSEQ;
        m->state = c->state;
        return 1;
}

/* States that were forgotten have no masks. */
static void follow_epoch(Constraint *c, const Mask *keep) {
        if (c->epoch == matcher_epoch(c->matcher))
                return;
        c->epoch = matcher_epoch(c->matcher);
        for (uint32_t i = 0; i < c->n_masks; i++)
                if (&c->masks[i] != keep)
                        c->masks[i].state = MATCHER_DEAD;
}

int constraint_update(Constraint *c, ConstraintWork most) {
        follow_epoch(c, NULL);
        Mask *m = find_mask(c);
        if (!m) {
                m = make_mask(c);
                int r = m ? fill_mask(c, m, most == CONSTRAINT_LITTLE ? LITTLE_WORK : ALL_WORK) : -ENOMEM;
                follow_epoch(c, r > 0 ? m : NULL);
                if (r <= 0)
                        return r;
        }
        m->used = ++c->uses;
        c->current = m;
        return 1;
}

const uint32_t *constraint_allowed(const Constraint *c) {
        return c->current->bits;
}

IpcFailCode constraint_fail_code(int error) {
        return error == -ENOMEM ? IPC_E_INTERNAL : IPC_E_INVALID;
}

const char *constraint_why(int error) {
        switch (error) {
        case -E2BIG:
                return "what the answer must look like is too ambiguous to be followed";
        case -EILSEQ:
                return "no token of the model goes on with what the answer must look like, or there are too many ways to go on";
        default:
                return "not enough memory for what the answer must look like";
        }
}
