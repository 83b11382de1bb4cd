/* Stacks, states and steps; see matcher.h.
 *
 * A frame is a node, how far it is gone through (`at`), and the frame that goes on when it is done: a stack is its
 * uppermost frame. Frames are unique, so that stacks are equal where their numbers are. A sequence's last part needs no
 * frame of its sequence below it, so lists that are written as recursion do not grow the stack.
 *
 * closure() takes stacks apart until each has a leaf on top, which is what a state keeps. A byte takes the leaves that
 * match it off, and the closure of what is below them is the next state. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/matcher.h"
#include "util/map.h"

enum {
        FRAMES = 2048, /* of a small memory; of a large one SCALE_LARGE times as many. Powers of two */
        STATES = 64,
        STACKS = 4096,
        SCALE_LARGE = 16,
        STACKS_MAX = 1024, /* of a state */
        BOTTOM = 0, /* the frame below all */
        FORGET_WORK = 64 * 1024, /* what forgetting counts as */
};
#define UNKNOWN UINT32_MAX

typedef struct Frame {
        uint32_t node, at, below;
        uint16_t depth; /* of frames, itself among them */
        uint32_t seen;  /* in which closure */
} Frame;

typedef struct State {
        uint32_t first, n; /* stacks */
        bool accepts;
} State;

/* What is remembered: at first little, as that is enough for most grammars, and many sequences may wait. */
typedef struct Memory {
        uint32_t max_frames, max_states, max_stacks;
        uint32_t n_frames, n_states, n_stacks;
        Frame *frames;            /* [max_frames], and so on */
        State *states;
        uint32_t *frames_by_hash; /* [2 * max_frames] 0: free */
        uint32_t *states_by_hash; /* [2 * max_states] */
        uint32_t *stacks;
        uint32_t *next; /* [max_states, classes] */
        uint32_t *todo; /* [max_frames] */
        uint32_t rest[];
} Memory;

struct Matcher {
        const Grammar *g;
        Memory *m;
        uint32_t closure, epoch;
        uint64_t work;
        uint32_t found[STACKS_MAX], n_found; /* leaves of the closure at hand */
        uint32_t n_todo;
        bool accepts, overflown;
};

/* ---- memory ---- */

/* One block, with all arrays behind one another. */
static Memory *memory_new(const Grammar *g, uint32_t scale) {
        size_t frames = (size_t)FRAMES * scale, states = (size_t)STATES * scale, stacks = (size_t)STACKS * scale;
        size_t of_frames = frames * (sizeof(Frame) + 3 * sizeof(uint32_t));
        size_t of_states = states * (sizeof(State) + (2 + g->n_classes) * sizeof(uint32_t));
        Memory *m = calloc(1, sizeof(*m) + of_frames + of_states + stacks * sizeof(uint32_t));
        if (!m)
                return NULL;
        m->max_frames = (uint32_t)frames;
        m->max_states = (uint32_t)states;
        m->max_stacks = (uint32_t)stacks;
        m->frames = (Frame *)m->rest;
        m->states = (State *)(m->frames + frames);
        m->frames_by_hash = (uint32_t *)(m->states + states);
        m->states_by_hash = m->frames_by_hash + 2 * frames;
        m->todo = m->states_by_hash + 2 * states;
        m->stacks = m->todo + frames;
        m->next = m->stacks + stacks;
        m->n_frames = m->n_states = 1; /* BOTTOM, MATCHER_DEAD */
        return m;
}

int matcher_new(const Grammar *g, Matcher **ret) {
        _cleanup_(matcher_freep) Matcher *m = calloc(1, sizeof(*m));
        if (!m || !(m->m = memory_new(g, 1)))
                return -ENOMEM;
        m->g = g;
        *ret = TAKE(m);
        return 0;
}

void matcher_free(Matcher *m) {
        if (!m)
                return;
        free(m->m);
        free(m);
}

uint32_t matcher_epoch(const Matcher *m) {
        return m->epoch;
}

uint64_t matcher_work(const Matcher *m) {
        return m->work;
}

/* ---- frames ---- */

/* The number of a frame; BOTTOM: there is no room for it. */
static uint32_t frame_of(Matcher *x, uint32_t node, uint32_t at, uint32_t below) {
        Memory *m = x->m;
        uint32_t key[3] = {node, at, below}, i = (uint32_t)hash_bytes(key, sizeof(key), 0);
        for (;; i++) {
                i &= 2 * m->max_frames - 1;
                uint32_t f = m->frames_by_hash[i];
                if (f == BOTTOM)
                        break;
                if (m->frames[f].node == node && m->frames[f].at == at && m->frames[f].below == below)
                        return f;
        }
        if (m->n_frames == m->max_frames) {
                x->overflown = true;
                return BOTTOM;
        }
        m->frames[m->n_frames] = (Frame){node, at, below, (uint16_t)(m->frames[below].depth + 1), 0};
        m->frames_by_hash[i] = m->n_frames;
        return m->n_frames++;
}

/* ---- closure ---- */

/* Goes on with a stack, once. */
static void resume(Matcher *x, uint32_t f) {
        Frame *frame = &x->m->frames[f];
        if (f == BOTTOM)
                x->accepts = true;
        else if (frame->seen != x->closure) {
                frame->seen = x->closure;
                x->m->todo[x->n_todo++] = f;
        }
}

/* Puts a node on a stack, where it can be come through. */
static void enter(Matcher *x, GrammarNode node, uint32_t below) {
        if (x->m->frames[below].depth + x->g->items[node].need > GRAMMAR_DEPTH)
                return;
        uint32_t f = frame_of(x, node, 0, below);
        if (f != BOTTOM)
                resume(x, f);
}

static void enter_sequence(Matcher *x, Frame f, const GrammarItem *item) {
        const GrammarNode *parts = x->g->children + item->first;
        if (item->n == 0) {
                resume(x, f.below);
                return;
        }
        uint32_t below = f.at + 1 == item->n ? f.below : frame_of(x, f.node, f.at + 1, f.below);
        if (!x->overflown)
                enter(x, parts[f.at], below);
}

/* Without an end, what counts is only whether they are enough. */
static void enter_repeat(Matcher *x, Frame f, const GrammarItem *item) {
        if (f.at >= item->n)
                resume(x, f.below);
        if (f.at == item->most)
                return;
        uint32_t at = item->most == GRAMMAR_EVER ? MIN(f.at + 1, item->n) : f.at + 1;
        uint32_t below = at == item->most ? f.below : frame_of(x, f.node, at, f.below);
        if (!x->overflown)
                enter(x, item->first, below);
}

static void enter_choice(Matcher *x, Frame f, const GrammarItem *item) {
        for (uint32_t i = item->n; i > 0; i--) /* the first one is taken first */
                enter(x, x->g->children[item->first + i - 1], f.below);
}

static void keep(Matcher *x, uint32_t f) {
        if (x->n_found == STACKS_MAX)
                x->overflown = true;
        else
                x->found[x->n_found++] = f;
}

static void begin_closure(Matcher *x) {
        x->closure++;
        x->n_found = x->n_todo = 0;
        x->accepts = x->overflown = false;
}

static void finish_closure(Matcher *x) {
        while (x->n_todo > 0 && !x->overflown) {
                uint32_t at = x->m->todo[--x->n_todo];
                Frame f = x->m->frames[at];
                const GrammarItem *item = &x->g->items[f.node];
                x->work++;
                if (item->kind == GRAMMAR_SEQUENCE)
                        enter_sequence(x, f, item);
                else if (item->kind == GRAMMAR_CHOICE)
                        enter_choice(x, f, item);
                else if (item->kind == GRAMMAR_REPEAT)
                        enter_repeat(x, f, item);
                else
                        keep(x, at);
        }
}

/* ---- states ---- */

static int by_number(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
        return (x > y) - (x < y);
}

static uint64_t hash_state(const uint32_t *stacks, uint32_t n, bool accepts) {
        return hash_bytes(stacks, n * sizeof(*stacks), accepts);
}

static bool is_state(const Memory *m, uint32_t state, const uint32_t *stacks, uint32_t n, bool accepts) {
        const State *s = &m->states[state];
        return s->n == n && s->accepts == accepts && memcmp(m->stacks + s->first, stacks, n * sizeof(*stacks)) == 0;
}

/* The number of the state that the closure has come to; MATCHER_DEAD also where there is no room. */
static uint32_t state_of(Matcher *x) {
        Memory *m = x->m;
        uint32_t n = x->n_found, i;
        if (x->overflown || (n == 0 && !x->accepts))
                return MATCHER_DEAD;
        qsort(x->found, n, sizeof(*x->found), by_number);
        for (i = (uint32_t)hash_state(x->found, n, x->accepts);; i++) {
                i &= 2 * m->max_states - 1;
                if (m->states_by_hash[i] == MATCHER_DEAD)
                        break;
                if (is_state(m, m->states_by_hash[i], x->found, n, x->accepts))
                        return m->states_by_hash[i];
        }
        if (m->n_states == m->max_states || n > m->max_stacks - m->n_stacks) {
                x->overflown = true;
                return MATCHER_DEAD;
        }
        memcpy(m->stacks + m->n_stacks, x->found, n * sizeof(*x->found));
        m->states[m->n_states] = (State){m->n_stacks, n, x->accepts};
        m->n_stacks += n;
        m->states_by_hash[i] = m->n_states;
        memset(m->next + (size_t)m->n_states * x->g->n_classes, 0xff, x->g->n_classes * sizeof(*m->next));
        return m->n_states++;
}

/* ---- forgetting ---- */

static uint32_t copy_frame(Matcher *x, const Memory *old, uint32_t f) {
        if (f == BOTTOM)
                return BOTTOM;
        uint32_t below = copy_frame(x, old, old->frames[f].below); /* no deeper than GRAMMAR_DEPTH */
        return frame_of(x, old->frames[f].node, old->frames[f].at, below);
}

static uint32_t copy_state(Matcher *x, const Memory *old, uint32_t state) {
        const State *s = &old->states[state];
        begin_closure(x);
        x->accepts = s->accepts;
        for (uint32_t i = 0; i < s->n; i++)
                keep(x, copy_frame(x, old, old->stacks[s->first + i]));
        return state_of(x);
}

static bool is_full(const Memory *m) {
        return m->n_frames == m->max_frames || m->n_states == m->max_states || m->n_stacks > m->max_stacks - STACKS_MAX;
}

/* All but a path, whose states are put into a large memory. False: there is none. */
static bool forget(Matcher *x, uint32_t *path, size_t n) {
        Memory *old = x->m, *m = memory_new(x->g, SCALE_LARGE);
        if (!m)
                return false;
        x->m = m;
        x->closure = 0;
        x->epoch++;
        x->work += FORGET_WORK;
        for (size_t i = 0; i < n; i++)
                path[i] = copy_state(x, old, path[i]);
        free(old);
        return true;
}

/* ---- steps ---- */

static uint32_t begin(Matcher *x) {
        begin_closure(x);
        enter(x, x->g->root, BOTTOM);
        finish_closure(x);
        return state_of(x);
}

uint32_t matcher_start(Matcher *x) {
        uint32_t start = begin(x);
        return x->overflown && is_full(x->m) && forget(x, NULL, 0) ? begin(x) : start;
}

/* What is left of a stack whose leaf has taken the byte. */
static void take(Matcher *x, uint32_t at, uint8_t byte) {
        Frame f = x->m->frames[at];
        const GrammarItem *item = &x->g->items[f.node];
        if (item->kind == GRAMMAR_BYTES) {
                if (byte_set_has(&x->g->sets[item->first], byte))
                        resume(x, f.below);
        } else if ((uint8_t)x->g->texts[item->first + f.at] == byte) {
                uint32_t next = f.at + 1 == item->n ? f.below : frame_of(x, f.node, f.at + 1, f.below);
                if (!x->overflown)
                        resume(x, next);
        }
}

static uint32_t work_out(Matcher *x, uint32_t from, uint8_t byte) {
        const State s = x->m->states[from];
        begin_closure(x);
        x->work += s.n;
        for (uint32_t i = 0; i < s.n && !x->overflown; i++)
                take(x, x->m->stacks[s.first + i], byte);
        finish_closure(x);
        return state_of(x);
}

uint32_t matcher_step(Matcher *x, uint32_t *path, size_t n, uint8_t byte) {
        uint32_t from = path[n - 1], class = x->g->classes[byte];
        uint32_t *next = &x->m->next[(size_t)from * x->g->n_classes + class];
        x->work++;
        if (from == MATCHER_DEAD || *next != UNKNOWN)
                return from == MATCHER_DEAD ? MATCHER_DEAD : *next;
        uint32_t to = work_out(x, from, byte);
        if (x->overflown && is_full(x->m) && forget(x, path, n))
                to = work_out(x, path[n - 1], byte);
        x->m->next[(size_t)path[n - 1] * x->g->n_classes + class] = to;
        return to;
}

bool matcher_accepts(const Matcher *m, uint32_t state) {
        return m->m->states[state].accepts;
}

bool matcher_is_final(const Matcher *m, uint32_t state) {
        return m->m->states[state].n == 0;
}
