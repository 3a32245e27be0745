/* To the background. The volume is mounted by the process that serves it (a mounted volume does not survive fork), and the one that
 * was called waits to hear how that went: what went wrong is on its standard error by then, and its exit status says it, too. */
#include "mount.h"
#include "../tools/tool.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void daemon_wait(pid_t child, int report)
{
	unsigned char status;
	ssize_t n;
	int how;

	do
		n = read(report, &status, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(status);
	if (waitpid(child, &how, 0) == child && WIFSIGNALED(how))
		tool_error("the serving process was ended by signal %d", WTERMSIG(how));
	else
		tool_error("the serving process ended before the volume was mounted");
	_exit(EXIT_FAILED);
}

int daemon_fork(struct daemon *d, bool foreground)
{
	int fds[2];
	pid_t pid;

	d->report = -1;
	if (foreground)
		return 0;
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		int err = -errno;

		close(fds[0]);
		close(fds[1]);
		return err;
	}
	if (pid > 0) {
		close(fds[1]);
		daemon_wait(pid, fds[0]);
	}
	close(fds[0]);
	d->report = fds[1];
	setsid();
	return 0;
}

void daemon_ready(struct daemon *d, int status)
{
	const unsigned char byte = (unsigned char)status;
	ssize_t n;
	int null;

	if (d->report < 0)
		return;
	fflush(NULL);
	if (status == EXIT_OK) {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
			dup2(null, fd);
		close(null);
	}
	do
		n = write(d->report, &byte, 1);
	while (n < 0 && errno == EINTR);
	close(d->report);
	d->report = -1;
}
