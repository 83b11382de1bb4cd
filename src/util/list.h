/* Intrusive doubly linked list. A List is the head; a ListNode is embedded in each member. An unlinked node points
 * to itself, so list_remove() is safe on it once it was initialised. */
#pragma once

#include <stdbool.h>

#include "util/macro.h"

typedef struct ListNode {
        struct ListNode *prev, *next;
} ListNode;

typedef ListNode List;

static inline void list_init(ListNode *n) {
        n->prev = n->next = n;
}

static inline bool list_is_empty(const List *l) {
        return l->next == l;
}

static inline bool list_is_single(const List *l) {
        return l->next != l && l->next->next == l;
}

static inline bool list_is_linked(const ListNode *n) {
        return n->next && n->next != n;
}

static inline void list_insert(ListNode *prev, ListNode *n) {
        n->prev = prev;
        n->next = prev->next;
        prev->next->prev = n;
        prev->next = n;
}

static inline void list_append(List *l, ListNode *n) {
        list_insert(l->prev, n);
}

static inline void list_prepend(List *l, ListNode *n) {
        list_insert(l, n);
}

static inline void list_remove(ListNode *n) {
        n->prev->next = n->next;
        n->next->prev = n->prev;
        list_init(n);
}

#define list_first(l, type, member) (list_is_empty(l) ? NULL : container_of((l)->next, type, member))
#define list_last(l, type, member) (list_is_empty(l) ? NULL : container_of((l)->prev, type, member))

/* The body may remove the member at hand. */
#define list_foreach(it, l, type, member)                                                                    \
        for (type *it = container_of((l)->next, type, member),                                               \
                  *it##_next = container_of(it->member.next, type, member);                                  \
             &it->member != (l); it = it##_next, it##_next = container_of(it->member.next, type, member))
