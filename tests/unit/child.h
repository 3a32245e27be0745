/* What would end the test is done by a child. */
#ifndef HF_TESTS_CHILD_H
#define HF_TESTS_CHILD_H

#include <sys/wait.h>
#include <unistd.h>

/* The exit status of a child that runs fn: its return value, or 128 + the signal. */
static inline int run_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

#endif
