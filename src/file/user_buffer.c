#include "file/user_buffer.h"
#include "file/view_fill.h"
#include "media/guard.h"

/* One copy between two looks at what is mapped. */
#define USER_PIECE 65536u
/* So often one piece is lost to somebody who revokes. */
#define USER_TURNS 10000u

struct user_piece {
	char *p;
	uint64_t n;
};

/* The next piece, at most max bytes and of one 2 MiB page (the arena's begin where they begin),
 * which leaves b. */
static struct user_piece user_next(struct user_buffer *b, uint64_t max)
{
	struct user_piece piece;
	uint64_t page;

	while (b->skip >= b->iov->iov_len) {
		b->skip -= b->iov->iov_len;
		b->iov++;
	}
	piece.p = (char *)b->iov->iov_base + b->skip;
	page = HF_FRAME_SIZE - (uintptr_t)piece.p % HF_FRAME_SIZE;
	piece.n = min_u64(min_u64(b->iov->iov_len - b->skip, b->len), min_u64(page, max));
	b->skip += piece.n;
	b->len -= piece.n;
	return piece;
}

bool user_buffer_in_view(const struct user_buffer *b)
{
	struct user_buffer rest = *b;

	while (rest.len > 0) {
		struct user_piece piece = user_next(&rest, UINT64_MAX);

		if (view_address(piece.p, piece.n))
			return true;
	}
	return false;
}

static int user_fault(void)
{
	return err_set(-EFAULT, "a buffer in a view: %s", err_msg());
}

/* No view's: it is left as it is, and the copy says what it thinks of it. */
static int user_populate_page(const char *p, bool store)
{
	struct view *v;
	uint64_t slot;
	int err = 0;

	v = view_enter(p, &slot);
	if (!v)
		return 0;
	if (store && !v->writable)
		err = err_set(-EFAULT, "it is not mapped for writing");
	else
		err = view_fill_wait(v, slot, store);
	view_leave(v);
	return err ? user_fault() : 0;
}

int user_buffer_populate(const struct user_buffer *b, bool store)
{
	struct user_buffer rest = *b;
	int err = 0;

	while (rest.len > 0 && !err)
		err = user_populate_page(user_next(&rest, UINT64_MAX).p, store);
	return err;
}

/* One piece to or from 'own'. */
static int user_copy_piece(const struct user_piece *piece, char *own, bool store)
{
	int err = -EFAULT;

	for (unsigned turn = 0; err && turn < USER_TURNS; turn++) {
		if (store)
			err = guard_copy(piece->p, own, piece->n, NULL);
		else
			err = guard_copy(own, piece->p, piece->n, NULL);
		if (err && !view_address(piece->p, piece->n))
			return err_set(-EFAULT, "the buffer cannot be %s",
				       store ? "written" : "read");
		if (err && user_populate_page(piece->p, store))
			return -EFAULT;
	}
	return err;
}

static uint64_t user_copy(const struct user_buffer *b, char *own, bool store)
{
	struct user_buffer rest = *b;
	uint64_t done = 0;

	while (rest.len > 0) {
		struct user_piece piece = user_next(&rest, USER_PIECE);

		if (user_copy_piece(&piece, own + done, store))
			break;
		done += piece.n;
	}
	return done;
}

uint64_t user_buffer_fetch(const struct user_buffer *b, void *to)
{
	return user_copy(b, to, false);
}

uint64_t user_buffer_store(const struct user_buffer *b, const void *from)
{
	return user_copy(b, (char *)(uintptr_t)from, true);
}
