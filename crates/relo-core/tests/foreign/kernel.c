/* What a kernel of any width and byte order could have: compiled with -g, and pahole makes its BTF of that. */

struct list {
	struct list *next, *prev;
};

union both {
	long number;
	char bytes[sizeof(long)];
};

enum state { IDLE, RUNNING = 5, GONE = 0x7fffffff };
enum wide { SMALL = 1, LARGE = 0x100000002ULL };

struct inner {
	int a;
	long b;
};

struct task {
	void *stack;
	unsigned long flags;
	struct list tasks;
	int pid;
	unsigned int in_use : 3;
	unsigned int sort : 11;
	unsigned int : 2;
	signed int nice : 5;
	enum state state;
	union both both;
	struct {
		int hidden;
		struct inner inner;
	};
	int (*call)(struct task *task, long argument);
	char tail[];
};

struct task the_task;
enum wide the_wide;
