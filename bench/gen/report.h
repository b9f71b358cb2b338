/* SPDX-License-Identifier: MPL-2.0 */
/* Results: one JSON object in one line on stdout. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"

/* Begins the object with the members that all roles have. */
void report_begin(const char *role);
void report_u64(const char *name, uint64_t value);
void report_double(const char *name, double value);
void report_bool(const char *name, bool value);
/* @value NULL = null */
void report_string(const char *name, const char *value);
void report_null(const char *name);
void report_histogram(const char *name, const struct histogram *h);
/* Ends the object. An exit status: 1 if stdout could not take it. */
int report_end(void);

/* @n per second; 0 if there was no time. */
static inline double report_rate(uint64_t n, double seconds)
{
	return seconds > 0 ? (double)n / seconds : 0;
}
