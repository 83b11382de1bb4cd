/* Open-ended documents of the daemon (show, status) as rows for eyes. */
#pragma once

#include <jansson.h>

#include "cli/cli.h"

/* A scalar as text; "" for what is none. */
void format_value(const json_t *value, char *buf, size_t n);
const char *member_text(const json_t *object, const char *key, char *buf, size_t n);
/* One row of two columns for each member that is a scalar, or the length of an array. */
void add_members(Table *t, const json_t *object);
/* Whether the daemon is on this machine, so that its users are ours. */
bool is_local(const ZlClient *client);
/* The daemon knows its users by number: gives each object of `users` the name of its uid. */
void name_users(json_t *users);
