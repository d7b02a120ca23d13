/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counts by power of two: slot n counts the values from 2^n up to, not including, 2^(n+1); slot 0 also counts 0. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include "kernel.h"

#define HISTOGRAM_SLOTS 32

struct histogram {
	__u64 total; /* sum of all values */
	__u32 slots[HISTOGRAM_SLOTS];
};

static __always_inline __u32 histogram_slot(__u64 value)
{
	__u32 slot = 0;

	for (int shift = 16; shift > 0; shift >>= 1) {
		if (value >> shift) {
			value >>= shift;
			slot += shift;
		}
	}
	return slot;
}

static __always_inline void histogram_add(struct histogram *histogram, __u64 value)
{
	__u32 slot = value >> 32 ? HISTOGRAM_SLOTS - 1 : histogram_slot(value);

	__sync_fetch_and_add(&histogram->total, value);
	__sync_fetch_and_add(&histogram->slots[slot & (HISTOGRAM_SLOTS - 1)], 1);
}

#endif
