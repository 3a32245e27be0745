#!/bin/bash
# git on the mount: a repository made there, cloned, packed, checked, branched and merged. git.sh BIN
bin=$1
. "$(dirname "$0")/../mounted.sh"
command -v git >/dev/null || skip "git is missing"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null HOME=$tmp
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
volume 512M
mount_volume
cd "$mnt" || exit 1

git init -q -b main origin && cd origin || fail init
for d in $(seq 12); do
	mkdir -p "dir$d/sub"
	for f in $(seq 12); do
		seq "$d" "$((d * f * 7))" >"dir$d/sub/file$f"
	done
done
ln -s dir1/sub/file1 link
printf '#!/bin/sh\n' >tool
chmod +x tool
git add -A && git commit -qm first || fail "first commit"
for n in $(seq 12); do
	echo "line $n" >>"dir$n/sub/file1"
	git commit -qam "change $n" || fail "commit $n"
done
git checkout -qb side HEAD~10 && echo side >side && git add side && git commit -qm side || fail branch
git checkout -q main && git merge -q -m merge side || fail merge
git mv dir2 renamed && git rm -rq dir3 && git commit -qm moves || fail moves
[ -z "$(git status --porcelain)" ] || fail "status: $(git status --porcelain | head -3)"
git fsck --full --strict 2>"$tmp/err" >&2 || fail "fsck: $(cat "$tmp/err")"

git clone -q "$mnt/origin" "$mnt/local" && git clone -q "file://$mnt/origin" "$mnt/packed" || fail clone
git clone -q "$mnt/origin" "$out/outside" || fail "clone to elsewhere"
diff -r --no-dereference -x .git "$mnt/origin" "$mnt/local" && diff -r --no-dereference -x .git "$mnt/origin" "$out/outside" || fail "clones differ"
cd "$mnt/packed" && echo more >more && git add more && git commit -qm more && git push -q origin HEAD:pushed || fail push
cd "$mnt/origin" && git gc -q --aggressive --prune=now && git fsck --full 2>"$tmp/err" >&2 || fail "gc: $(cat "$tmp/err")"
git reset -q --hard HEAD~3 && git stash list >/dev/null && git repack -adq && git worktree add -q "$mnt/tree" pushed || fail "reset, repack, worktree"
head=$(git rev-parse HEAD)

cd / && unmount_volume
check_volume
mount_volume
cd "$mnt/origin" && git fsck --full 2>"$tmp/err" >&2 || fail "fsck after remount: $(cat "$tmp/err")"
[ "$(git rev-parse HEAD)" = "$head" ] && [ -z "$(git status --porcelain)" ] || fail "not as it was"
cd / && unmount_volume
