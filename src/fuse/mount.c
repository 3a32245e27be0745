/* mount.holdfast: the life of a mount. */
#include "mount.h"
#include "../tools/tool.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define MOUNT_IDLE_THREADS 10u

/* What libfuse has to say, with our name before it and without its own. */
static void mount_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[1024];

	if (level == FUSE_LOG_DEBUG) {
		vfprintf(stderr, fmt, ap);
		return;
	}
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	tool_error("%s", strncmp(text, "fuse: ", 6) ? text : text + 6);
}

/* Told before anything is opened or changed. */
static int mount_fuse_there(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return EXIT_OK;
	}
	if (errno == EACCES || errno == EPERM)
		tool_error("/dev/fuse: no permission: root and, where its mode says so, other users can mount");
	else
		tool_error("/dev/fuse: %s: the kernel has no FUSE here; 'modprobe fuse' loads it", strerror(errno));
	return EXIT_FAILED;
}

/* ---- the volume */

static int mount_volume(struct mount *m)
{
	struct hf_mount_options opts = {.struct_size = sizeof(opts), .max_cached_inodes = m->opt.max_inodes};
	int err;

	if (m->opt.read_only)
		opts.flags |= HF_MOUNT_RDONLY;
	if (m->opt.noatime)
		opts.flags |= HF_MOUNT_NOATIME;
	if (m->opt.no_msync)
		opts.flags |= HF_MOUNT_NO_MSYNC;
	if (m->opt.on_node) {
		opts.flags |= HF_MOUNT_NUMA_NODE;
		opts.numa_node = (int32_t)m->opt.numa_node;
	}
	if (m->opt.this_uuid)
		opts.uuid = m->opt.uuid;
	err = hf_mount(&m->vol, m->opt.volume, &opts);
	if (!err)
		err = hf_inode_root(m->vol, &m->root);
	return err ? tool_fail(err, "cannot mount") : EXIT_OK;
}

/* Whoever has files open when the mount is gone gets ENOTCONN for them from now on. In the background there is no standard error any
 * more; in the foreground the log is there. */
static int mount_volume_end(struct mount *m)
{
	int err = 0;

	handle_close_all(m);
	if (m->vol)
		err = hf_unmount(&m->vol);
	if (err)
		syslog(LOG_ERR, "unmount: %s", hf_errormsg());
	return err ? EXIT_FAILED : EXIT_OK;
}

/* ---- the session */

static int mount_session(struct mount *m)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int err = options_fuse_args(&m->opt, &args);

	if (!err)
		m->se = fuse_session_new(&args, &mount_ops, sizeof(mount_ops), m);
	fuse_opt_free_args(&args);
	if (!m->se) {
		tool_error("no FUSE session: %s", err ? strerror(-err) : "see above");
		return EXIT_FAILED;
	}
	if (fuse_session_mount(m->se, m->opt.dir)) {
		tool_error("%s: could not be mounted on", m->opt.dir);
		return EXIT_FAILED;
	}
	err = wire_start(m);
	return err ? tool_fail(err, "no FUSE session") : EXIT_OK;
}

static int mount_loop(struct mount *m)
{
	struct fuse_loop_config *c = fuse_loop_cfg_create();
	int ret = -ENOMEM;

	if (c) {
		fuse_loop_cfg_set_idle_threads(c, MOUNT_IDLE_THREADS);
		fuse_loop_cfg_set_max_threads(c, m->opt.max_threads ? m->opt.max_threads : MOUNT_IDLE_THREADS);
		ret = fuse_session_loop_mt(m->se, c);
		fuse_loop_cfg_destroy(c);
	}
	if (ret < 0)
		syslog(LOG_ERR, "%s: the connection to the kernel failed: %s", m->opt.dir, strerror(-ret));
	return ret < 0 ? EXIT_FAILED : EXIT_OK; /* a signal is an end like any other */
}

static int mount_serve(struct mount *m, struct daemon *d)
{
	int status = mount_session(m);

	if (status == EXIT_OK && fuse_set_signal_handlers(m->se))
		status = EXIT_FAILED;
	if (status == EXIT_OK) {
		daemon_ready(d, EXIT_OK);
		status = mount_loop(m);
		fuse_remove_signal_handlers(m->se);
	}
	if (m->se) {
		fuse_session_unmount(m->se);
		fuse_session_destroy(m->se);
	}
	return status;
}

int main(int argc, char **argv)
{
	struct mount m = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct daemon d;
	int status, end, err;

	tool_begin("mount.holdfast");
	fuse_set_log_func(mount_log);
	status = options_parse(argc, argv, &m.opt);
	if (status < 0)
		status = mount_fuse_there();
	if (status != EXIT_OK || !m.opt.volume) {
		options_free(&m.opt);
		return status;
	}
	err = daemon_fork(&d, m.opt.foreground || m.opt.debug);
	if (err)
		return tool_fail(err, "no process to serve the volume");
	openlog("mount.holdfast", d.report < 0 ? LOG_PID | LOG_PERROR : LOG_PID, LOG_DAEMON);
	status = mount_volume(&m);
	if (status == EXIT_OK && !m.opt.foreground && !m.opt.debug && chdir("/"))
		status = EXIT_FAILED;
	if (status == EXIT_OK)
		status = mount_serve(&m, &d);
	end = mount_volume_end(&m);
	daemon_ready(&d, status);
	options_free(&m.opt);
	return status == EXIT_OK ? end : status;
}
