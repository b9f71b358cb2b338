/* SPDX-License-Identifier: MPL-2.0 */
/* The client of `status=1`: asks a running daemon and prints what it says, as text or as JSON.
 *
 * The reply is lines `key=value`. Lines before the first section describe the device; `worker=N`
 * and `public_key=HEX` begin a section each, workers before peers, and what follows belongs to it;
 * in JSON they are the objects of the arrays "worker" and "peer". Keys `group.name` whose groups
 * are equal and adjacent become one object. Plain numbers, true and false are JSON values,
 * everything else is a string; public keys are shown in base64. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* Reads a whole reply from @in and prints it on @out. 0; -errno as the daemon replied; -EPROTO if
 * it is no such reply. */
int status_print(FILE *in, FILE *out, bool json);

/* Asks the daemon of interface @name over the socket in @dir. 0, or -errno after nothing was
 * printed. */
int status_ask(const char *dir, const char *name, bool json);
