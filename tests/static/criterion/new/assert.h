/* SPDX-License-Identifier: MPL-2.0 */
/* See criterion.h above. */
#pragma once

#include <criterion/criterion.h>

#define eq(type, left, right) IS_EQUAL_##type(left, right)
#define ne(type, left, right) (!IS_EQUAL_##type(left, right))
#define lt(type, left, right) ((left) < (right))
#define le(type, left, right) ((left) <= (right))
#define gt(type, left, right) ((left) > (right))
#define ge(type, left, right) ((left) >= (right))
#define zero(type, value)     (!(value))
#define not(condition) (!(condition))

#define IS_EQUAL_str(l, r)  (strcmp(l, r) == 0)
#define IS_EQUAL_ptr(l, r)  ((l) == (r))
#define IS_EQUAL_int(l, r)  ((l) == (r))
#define IS_EQUAL_uint(l, r) ((l) == (r))
#define IS_EQUAL_long(l, r) ((l) == (r))
#define IS_EQUAL_sz(l, r)   ((l) == (r))
#define IS_EQUAL_u8(l, r)   ((l) == (r))
#define IS_EQUAL_u16(l, r)  ((l) == (r))
#define IS_EQUAL_u32(l, r)  ((l) == (r))
#define IS_EQUAL_u64(l, r)  ((l) == (r))
#define IS_EQUAL_i32(l, r)  ((l) == (r))
