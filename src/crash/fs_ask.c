/* Questions to a volume that came out of a crash. */
#include "crash/fs.h"

enum { FILL_PIECE = 65536 };

int fs_ask_space(hf_crash_run *run, hf_volume *vol, const char *when)
{
	struct hf_statfs st;
	int err = hf_statfs(vol, &st);

	if (err)
		return hf_crash_say(run, "%s: statfs: %s", when, hf_errormsg());
	if (st.blocks_free + st.blocks_busy_journal + st.blocks_busy_pinned + st.blocks_used !=
	    st.blocks)
		return hf_crash_say(run,
				    "%s: %llu free + %llu + %llu busy + %llu used are not the %llu "
				    "blocks that there are",
				    when, (unsigned long long)st.blocks_free,
				    (unsigned long long)st.blocks_busy_journal,
				    (unsigned long long)st.blocks_busy_pinned,
				    (unsigned long long)st.blocks_used,
				    (unsigned long long)st.blocks);
	if (st.blocks_busy_pinned)
		return hf_crash_say(run, "%s: %llu blocks are busy, and nobody has a pin", when,
				    (unsigned long long)st.blocks_busy_pinned);
	return 0;
}

static int no_findings(hf_crash_run *run, hf_volume *vol, const char *when)
{
	struct hf_check_options opts = {.struct_size = sizeof(opts), .max_findings = 1};
	struct hf_check_result res;
	int err = hf_check_mounted(vol, &opts, &res);

	if (err || res.findings)
		return hf_crash_say(run, "%s: the check has findings", when);
	return 0;
}

/* Until it is full, and again what was there is free. */
static int fill(hf_crash_run *run, hf_volume *vol)
{
	static uint8_t piece[FILL_PIECE];
	struct hf_statfs before, after;
	ssize_t got = FILL_PIECE;
	hf_file *f;
	int err = hf_statfs(vol, &before);

	if (!err)
		err = hf_open(vol, FS_FULL, HF_O_RDWR | HF_O_CREAT, 0600, &f);
	if (err)
		return hf_crash_say(run, "no file can be made: %s", hf_errormsg());
	memset(piece, 0x5a, sizeof(piece));
	while (got == FILL_PIECE)
		got = hf_append(f, piece, FILL_PIECE, NULL);
	if (got < 0 && got != -ENOSPC)
		hf_crash_say(run, "filling it: %s", hf_errormsg());
	hf_close(&f);
	err = hf_unlink(vol, FS_FULL);
	if (!err)
		err = hf_syncfs(vol);
	if (!err)
		err = hf_statfs(vol, &after);
	if (err || (got < 0 && got != -ENOSPC))
		return hf_crash_say(run, "emptying it again: %s", hf_errormsg());
	if (after.blocks_free + 16 < before.blocks_free)
		return hf_crash_say(run, "%llu blocks were free, after filling and emptying %llu",
				    (unsigned long long)before.blocks_free,
				    (unsigned long long)after.blocks_free);
	return 0;
}

int fs_use_it(hf_crash_run *run, hf_volume *vol, const struct snap *have)
{
	int err;

	if (snap_remove_all(vol, have) != 0)
		return hf_crash_say(run, "it cannot be emptied: %s", hf_errormsg());
	if (hf_syncfs(vol) != 0)
		return hf_crash_say(run, "after emptying it: %s", hf_errormsg());
	err = fs_ask_space(run, vol, "after emptying it");
	if (!err && hf_crash_run_first(run)) {
		err = fill(run, vol);
		if (!err)
			err = no_findings(run, vol, "after filling and emptying it");
	}
	return err;
}
