#include "value.h"

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

int value;

__attribute__((section("kprobe/x"), used)) int probe(struct task_struct *task)
{
	value = VALUE;
	return task->pid;
}
