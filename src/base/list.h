/* SPDX-License-Identifier: MPL-2.0 */
/* Intrusive circular doubly linked list. Single-threaded. */
#pragma once

#include <stdbool.h>

#include "base/macro.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_push_back(struct list *head, struct list *item)
{
	item->prev = head->prev;
	item->next = head;
	head->prev->next = item;
	head->prev = item;
}

/* Takes @item out and leaves it as a list of its own, so that removing twice is harmless. */
static inline void list_remove(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

static inline struct list *list_pop_front(struct list *head)
{
	struct list *first = head->next;
	if (first == head)
		return NULL;
	list_remove(first);
	return first;
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_for_each(it, head)       for (struct list *it = (head)->next; it != (head); it = it->next)
/* @it may be removed in the body. */
#define list_for_each_safe(it, nxt, head)                                   \
	for (struct list *it = (head)->next, *nxt = it->next; it != (head); \
	     it = nxt, nxt = it->next)
