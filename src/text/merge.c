/* Byte-pair merging in O(n log n).
 *
 * The chain of symbols is a doubly linked list in an array; possible merges wait in a binary heap ordered by rank, then
 * by position. A merge invalidates those queued for its neighbours, which is noticed when they come up: their length
 * no longer fits. Each merge takes one entry out and puts at most two in, so 2n places suffice for n symbols, and are
 * reserved beforehand: nothing here can fail. */
#include <errno.h>
#include <stdlib.h>

#include "text/merge.h"
#include "text/tokenizer-internal.h"
#include "util/checked.h"

int merge_scratch_reserve(MergeScratch *m, size_t word_len) {
        if (word_len <= m->cap)
                return 0;
        size_t cap = MAX(word_len, MAX(m->cap * 2, (size_t)256)), queue_cap;
        if (!checked_mul(cap, 2, &queue_cap))
                return -ENOMEM;
        Symbol *symbols = reallocarray(m->symbols, cap, sizeof(Symbol));
        if (!symbols)
                return -ENOMEM;
        m->symbols = symbols;
        QueuedMerge *queue = reallocarray(m->queue, queue_cap, sizeof(QueuedMerge));
        if (!queue)
                return -ENOMEM;
        m->queue = queue;
        m->cap = cap;
        return 0;
}

void merge_scratch_deinit(MergeScratch *m) {
        free(m->symbols);
        free(m->queue);
        *m = (MergeScratch){0};
}

void merge_put_symbol(MergeScratch *m, uint32_t prev, uint32_t start, uint32_t len, int32_t id) {
        m->symbols[start] = (Symbol){.len = len, .id = id, .prev = prev, .next = start + len};
}

/* Rank and position in one number to compare. */
static uint64_t order(const QueuedMerge *q) {
        return (uint64_t)q->rank << 32 | q->left;
}

static void queue_push(MergeScratch *m, QueuedMerge q) {
        size_t i = m->n_queued++;
        for (; i > 0; i = (i - 1) / 2) {
                const QueuedMerge *parent = &m->queue[(i - 1) / 2];
                if (order(parent) <= order(&q))
                        break;
                m->queue[i] = *parent;
        }
        m->queue[i] = q;
}

static QueuedMerge queue_pop(MergeScratch *m) {
        QueuedMerge top = m->queue[0], last = m->queue[--m->n_queued];
        size_t i = 0;
        for (size_t child; (child = 2 * i + 1) < m->n_queued; i = child) {
                if (child + 1 < m->n_queued && order(&m->queue[child + 1]) < order(&m->queue[child]))
                        child++;
                if (order(&last) <= order(&m->queue[child]))
                        break;
                m->queue[i] = m->queue[child];
        }
        m->queue[i] = last;
        return top;
}

/* Queues the merge of the symbol at `left` with the one after it, if the two make a token. */
static void consider(MergeScratch *m, const Tokenizer *t, const char *word, uint32_t word_len, uint32_t left) {
        const Symbol *l = &m->symbols[left];
        if (l->next >= word_len)
                return;
        const Symbol *r = &m->symbols[l->next];
        uint32_t len = l->len + r->len;
        Merge merge;
        if (t->ranks ? spm_merge(t, word + left, len, &merge) : bpe_merge(t, l->id, r->id, &merge))
                queue_push(m, (QueuedMerge){.rank = merge.rank, .left = left, .len = len, .id = merge.id});
}

static bool still_possible(const MergeScratch *m, const QueuedMerge *q, uint32_t word_len) {
        const Symbol *l = &m->symbols[q->left];
        return l->len > 0 && l->next < word_len && l->len + m->symbols[l->next].len == q->len;
}

static void join(MergeScratch *m, const QueuedMerge *q, uint32_t word_len) {
        Symbol *l = &m->symbols[q->left], *r = &m->symbols[l->next];
        l->len = q->len;
        l->id = q->id;
        l->next = r->next;
        r->len = 0;
        if (l->next < word_len)
                m->symbols[l->next].prev = q->left;
}

void merge_run(MergeScratch *m, const Tokenizer *t, const char *word, uint32_t len) {
        m->n_queued = 0;
        for (uint32_t i = 0; i < len; i = m->symbols[i].next)
                consider(m, t, word, len, i);
        while (m->n_queued > 0) {
                QueuedMerge q = queue_pop(m);
                if (!still_possible(m, &q, len))
                        continue;
                join(m, &q, len);
                if (m->symbols[q.left].prev != UINT32_MAX)
                        consider(m, t, word, len, m->symbols[q.left].prev);
                consider(m, t, word, len, q.left);
        }
}
