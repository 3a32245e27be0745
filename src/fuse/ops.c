/* The table of operations, and what is agreed with the kernel.
 *
 * Not in the table, because the kernel then does the right thing by itself:
 *	forget		nothing is kept per node
 *	flush, fsyncdir	what has returned is durable already
 *	getlk, setlk, flock	locks are among the processes of this machine, and nobody else has the volume
 *	access		the kernel checks permissions (default_permissions)
 *	ioctl, poll, bmap	there is nothing behind them */
#include "mount.h"

/* What the kernel may leave to us and what not.
 *
 * Set-user-ID and set-group-ID bits go when somebody without the right to keep them writes, truncates or gives the file away; the
 * kernel knows who has it. It tells us (HANDLE_KILLPRIV_V2, by wire.c), or if it is too old for that does it by setattr before the
 * write (HANDLE_KILLPRIV off). Where opening truncates it could do neither, so that is an open and a setattr (ATOMIC_O_TRUNC off).
 * File capabilities it removes itself.
 *
 * The page cache is never older than the file: all changes come through this mount. A look at the time of the last change
 * (AUTO_INVAL_DATA) would throw it away after each write. */
static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	const unsigned on = FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS |
			    FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO;
	const unsigned off = FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_ATOMIC_O_TRUNC |
			     FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;

	(void)userdata;
	conn->want |= on & conn->capable;
	conn->want &= ~off;
}

const struct fuse_lowlevel_ops mount_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .statfs = op_statfs,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .symlink = op_symlink,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .link = op_link,
    .create = op_create,
    .open = op_open,
    .release = op_release,
    .fsync = op_fsync,
    .read = op_read,
    .write = op_write,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
    .copy_file_range = op_copy_file_range,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .releasedir = op_releasedir,
    .setxattr = op_setxattr,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
};
