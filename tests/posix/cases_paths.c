/* How paths are taken, by every call that takes one. */
#include "posix.h"

/* Every call with a path that none of them can walk. 'f' is a file to work with. */
#define EVERY_CALL(tag, setup, path, error)                                                        \
	{tag ".stat", setup "stat " path " = " error},                                             \
	{tag ".lstat", setup "lstat " path " = " error},                                           \
	{tag ".open", setup "open A " path " r = " error},                                         \
	{tag ".open_creat", setup "open A " path " rw,creat = " error},                            \
	{tag ".open_excl", setup "open A " path " rw,creat,excl = " error},                        \
	{tag ".opendir", setup "opendir A " path " = " error},                                     \
	{tag ".mkdir", setup "mkdir " path " = " error},                                           \
	{tag ".rmdir", setup "rmdir " path " = " error},                                           \
	{tag ".unlink", setup "unlink " path " = " error},                                         \
	{tag ".mknod", setup "mknod " path " f = " error},                                         \
	{tag ".mkfifo", setup "mknod " path " p = " error},                                        \
	{tag ".symlink", setup "symlink x " path " = " error},                                     \
	{tag ".readlink", setup "readlink " path " = " error},                                     \
	{tag ".link_old", setup "link " path " new = " error},                                     \
	{tag ".link_new", setup "link f " path " = " error},                                       \
	{tag ".rename_old", setup "rename " path " new = " error},                                 \
	{tag ".rename_new", setup "rename f " path " = " error},                                   \
	{tag ".truncate", setup "truncate " path " 0 = " error},                                   \
	{tag ".chmod", setup "chmod " path " 600 = " error},                                       \
	{tag ".chown", setup "chown " path " 0 0 = " error},                                       \
	{tag ".lchown", setup "lchown " path " 0 0 = " error},                                     \
	{tag ".utimens", setup "utimens " path " 1 1 = " error},                                   \
	{tag ".lutimens", setup "lutimens " path " 1 1 = " error},                                 \
	{tag ".setxattr", setup "setx " path " user.a 1 = " error},                                \
	{tag ".getxattr", setup "getx " path " user.a 1 = " error},                                \
	{tag ".listxattr", setup "listx " path " = " error},                                       \
	{tag ".removexattr", setup "rmx " path " user.a = " error}

/* The calls that follow a symlink at the end. */
#define FOLLOWING(tag, setup, path, error)                                                         \
	{tag ".stat", setup "stat " path " = " error},                                             \
	{tag ".open", setup "open A " path " r = " error},                                         \
	{tag ".opendir", setup "opendir A " path " = " error},                                     \
	{tag ".truncate", setup "truncate " path " 0 = " error},                                   \
	{tag ".chmod", setup "chmod " path " 600 = " error},                                       \
	{tag ".chown", setup "chown " path " 0 0 = " error},                                       \
	{tag ".utimens", setup "utimens " path " 1 1 = " error},                                   \
	{tag ".setxattr", setup "setx " path " user.a 1 = " error},                                \
	{tag ".getxattr", setup "getx " path " user.a 1 = " error}

/* The calls that look for a name and do not find it. */
#define MISSING(tag, setup, path, error)                                                           \
	FOLLOWING(tag, setup, path, error),                                                        \
	{tag ".lstat", setup "lstat " path " = " error},                                           \
	{tag ".rmdir", setup "rmdir " path " = " error},                                           \
	{tag ".unlink", setup "unlink " path " = " error},                                         \
	{tag ".readlink", setup "readlink " path " = " error},                                     \
	{tag ".link_old", setup "link " path " new = " error},                                     \
	{tag ".rename_old", setup "rename " path " new = " error}

static const struct px_case paths[] = {
    EVERY_CALL("name_256", "create f;", "@256", "ENAMETOOLONG"),
    EVERY_CALL("dir_256", "create f;", "@256/x", "ENAMETOOLONG"),
    EVERY_CALL("path_4096", "create f;", "%4096:f", "ENAMETOOLONG"),
    EVERY_CALL("empty", "create f;", "\"\"", "ENOENT"),
    EVERY_CALL("below_file", "create f; create g;", "g/x", "ENOTDIR"),
    EVERY_CALL("below_file_dot", "create f; create g;", "g/./x", "ENOTDIR"),
    EVERY_CALL("below_missing", "create f;", "no/x", "ENOENT"),
    EVERY_CALL("below_dangling", "create f; symlink no l;", "l/x", "ENOENT"),
    EVERY_CALL("below_link_to_file", "create f; symlink f l;", "l/x", "ENOTDIR"),
    EVERY_CALL("below_loop", "create f; symlink l l;", "l/x", "ELOOP"),
    EVERY_CALL("below_ring", "create f; symlink b a; symlink a b;", "a/x", "ELOOP"),
    EVERY_CALL("below_fifo", "create f; mknod p p;", "p/x", "ENOTDIR"),
    FOLLOWING("loop", "symlink l l;", "l", "ELOOP"),
    FOLLOWING("dangling", "symlink no l;", "l", "ENOENT"),
    MISSING("missing", "", "no", "ENOENT"),
    MISSING("missing_slash", "", "no/", "ENOENT"),
    MISSING("file_slash", "create f;", "f/", "ENOTDIR"),
    MISSING("file_slash_dot", "create f;", "f/.", "ENOTDIR"),
    MISSING("file_slash_dotdot", "create f;", "f/..", "ENOTDIR"),

    {"name_255", "create @255; stat @255 type f; ls . @255; unlink @255; ls ."},
    {"dir_255", "mkdir @255; create @255/@255; stat @255/@255; rename @255/@255 x; rmdir @255"},
    {"link_255", "symlink @255 l; readlink l @255; create @255; stat l type f"},
    {"path_4095", "create f; stat %4095:f type f; chmod %4095:f 600; open A %4095:f r"},
    {"path_4095_create", "create %4095:f; stat f type f"},
    {"path_4095_mkdir", "mkdir %4095:d; stat d type d; rmdir %4095:d"},
    {"path_4095_rename", "create f; rename %4095:f %4095:g; ls . g; link %4095:g %4095:h; ls . g,h"},
    {"target_4095", "symlink %4095:f l; readlink l %4095:f; create f; stat l type f"},
    {"target_4096", "symlink %4096:f l = ENAMETOOLONG"},
    {"target_empty", "symlink \"\" l = ENOENT"},
    {"target_long_name", "symlink @256 l; readlink l @256; stat l = ENAMETOOLONG"},

    {"slashes", "mkdir d; create d//f; stat d///f type f; stat ./d//.//f type f"},
    {"dot", "mkdir d; create d/f; stat d/./f; stat ./d/f; same d/. d"},
    {"dotdot", "mkdir d; mkdir d/e; create f; stat d/../f; stat d/e/../../f; same d/e/.. d"},
    {"dotdot_through_link", "mkdir d; mkdir d/e; symlink d/e l; create d/f; stat l/../f; same l/.. d"},
    {"dotdot_missing", "stat no/.. = ENOENT"},
    {"middle_link", "mkdir d; create d/f; symlink d l; stat l/f type f; create l/g; ls d f,g"},
    {"middle_link_chain", "mkdir d; symlink d a; symlink a b; symlink b c; create c/f; stat d/f"},
    {"middle_link_dotdot", "mkdir d; mkdir e; symlink ../e d/l; create d/l/f; ls e f"},
    {"end_link", "create f; symlink f l; stat l type f; lstat l type l; chmod l 600; stat f mode 600"},
    {"links_40", "fn links_40"},
    {"links_41", "fn links_41"},
    {"links_in_the_middle", "fn links_in_the_middle"},
    {"link_expands_too_long", "symlink %4000:d l; mkdir d; create d/@200; stat l/@200 type f",
     .lib = "a path with its symlinks written out may have 4095 bytes (POSIX lets it fail so)"},

    {"dir_slash", "mkdir d; stat d/ type d; chmod d/ 700; opendir A d/; utimens d/ 1 1; stat d mode 700"},
    {"link_to_dir_slash", "mkdir d; symlink d l; lstat l/ type d; lstat l type l; chmod l/ 700; stat d mode 700"},
    {"link_to_file_slash", "create f; symlink f l; stat l/ = ENOTDIR; lstat l/ = ENOTDIR"},
    {"dangling_slash", "symlink no l; stat l/ = ENOENT; lstat l/ = ENOENT"},
    {"mkdir_slash", "mkdir d/; stat d type d; mkdir d2//; stat d2 type d"},
    {"mkdir_dangling_slash", "symlink no l; mkdir l/ = EEXIST; lstat no = ENOENT"},
    {"rmdir_slash", "mkdir d; rmdir d/; stat d = ENOENT"},
    {"rmdir_link_slash", "mkdir d; symlink d l; rmdir l/ = ENOTDIR; stat d type d"},
    {"unlink_dir_slash", "mkdir d; unlink d/ = EISDIR|EPERM"},
    {"unlink_link_slash", "mkdir d; symlink d l; unlink l/ = ENOTDIR"},
    {"readlink_slash", "mkdir d; symlink d l; readlink l/ = EINVAL"},
    {"create_slash", "open A new/ rw,creat = EISDIR; stat new = ENOENT"},
    {"create_file_slash", "create f; open A f/ rw,creat = EISDIR|ENOTDIR"},
    {"create_dir_slash", "mkdir d; open A d/ rw,creat = EISDIR"},
    {"mknod_slash", "mknod new/ p = ENOENT; stat new = ENOENT"},
    {"symlink_slash", "symlink x new/ = ENOENT; lstat new = ENOENT"},
    {"link_slash", "create f; link f new/ = ENOENT; stat new = ENOENT"},
    {"mknod_over_slash", "create f; mknod f/ p = EEXIST|ENOTDIR"},
    {"symlink_over_slash", "create f; symlink x f/ = EEXIST|ENOTDIR"},
    {"link_over_slash", "create f; create g; link f g/ = EEXIST|ENOTDIR"},
    {"mkdir_over_slash", "create f; mkdir f/ = EEXIST"},
    {"rename_dir_slash", "mkdir d; rename d/ e; stat e type d; rename e f/; stat f type d; rename f/ g/; stat g"},
    {"rename_file_slash", "create f; rename f/ g = ENOTDIR; rename f g/ = ENOTDIR; ls . f"},
    {"rename_file_over_dir_slash", "create f; mkdir d; rename f d/ = ENOTDIR|EISDIR"},
    {"rename_link_slash", "mkdir d; symlink d l; rename l/ m = ENOTDIR"},

    {"mkdir_dot", "mkdir . = EEXIST; mkdir .. = EEXIST; mkdir / = EEXIST"},
    {"mkdir_below_dot", "mkdir d; mkdir d/. = EEXIST; mkdir d/.. = EEXIST"},
    {"mkdir_missing_dot", "mkdir no/. = ENOENT"},
    {"rmdir_dot", "rmdir . = EINVAL; mkdir d; rmdir d/. = EINVAL"},
    {"rmdir_dotdot", "mkdir d; mkdir d/e; rmdir d/e/.. = ENOTEMPTY"},
    {"rmdir_root", "rmdir / = EBUSY"},
    {"unlink_dot", "unlink . = EISDIR|EPERM; mkdir d; unlink d/. = EISDIR|EPERM; unlink d/.. = EISDIR|EPERM"},
    {"unlink_root", "unlink / = EISDIR|EPERM|EBUSY"},
    {"create_dot", "open A . rw,creat = EISDIR; open A .. rw,creat = EISDIR; open A / rw,creat = EISDIR"},
    {"create_excl_dot", "open A . rw,creat,excl = EEXIST|EISDIR"},
    {"symlink_dot", "symlink x . = EEXIST; symlink x .. = EEXIST; symlink x / = EEXIST"},
    {"mknod_dot", "mknod . p = EEXIST; mknod .. p = EEXIST"},
    {"link_dot", "create f; link f . = EEXIST; link f .. = EEXIST"},
    {"rename_dot", "mkdir d; rename d/. e = EBUSY|EINVAL; rename d/.. e = EBUSY|EINVAL; rename . e = EBUSY|EINVAL"},
    {"rename_to_dot", "mkdir d; mkdir e; rename d e/. = EBUSY|EINVAL; rename d e/.. = EBUSY|EINVAL|ENOTEMPTY"},
    {"rename_root", "rename / e = EBUSY|EINVAL|EXDEV; mkdir d; rename d / = EBUSY|EINVAL|EXDEV"},
};

PX_GROUP(paths);
