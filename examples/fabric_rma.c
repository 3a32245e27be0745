/* A range of a holdfast file as a memory region of libfabric: another process writes into it (RMA).
 *
 * THE RULE: pin before you register, unpin after you deregister. Once a region is registered, a
 * peer (or its network card) writes into it without asking anybody here. The library sees no
 * reference that it was not told of: without a pin, truncate and unlink give the blocks to the next
 * file that asks, and the peer's next fi_write lands in *that* file.
 *
 * What happens here:
 *   1. a file is pinned, registered, and its addresses and keys are given to a second process;
 *   2. the peer writes: after hf_pin_persist its bytes are the file's, durably;
 *   3. the file is unlinked and closed, which does not wait; another file takes all the space that
 *      there is, up to -ENOSPC; then the peer writes again. It cannot know, and it harms nobody:
 *      the bytes are in the pinned pages, and the other file has none of them;
 *   4. deregister, unpin: the blocks are free.
 *
 *      fabric_rma [PROVIDER]        default: tcp, over the loopback device; shm works, too
 *
 * The peer is this program again, started before the volume is mounted, so that it inherits nothing
 * of it. Exits with 77 where no such provider works. */
#include "example.h"
#include <poll.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIN_BYTES (1u << 20)
#define CHUNK	  65536u /* what one fi_writemsg sends */
#define REGIONS	  8u	 /* the pin may be in so many pieces; one region for each */

/* What the owner tells the peer. */
struct target {
	char name[128]; /* address of the owner's endpoint */
	uint32_t regions;
	struct {
		uint64_t addr, len, key;
	} region[REGIONS];
};

struct net {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
};

static void must_fi(ssize_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, fi_strerror((int)-err));
	exit(1);
}

/* Round n of the peer's bytes: never 'F', which is what the other file is full of. */
static unsigned char pattern(unsigned n, size_t off)
{
	return (unsigned char)(0x80 | (off * 31 + (off >> 12) + n));
}

/* ---- libfabric, the same for both sides */

/* A connectionless endpoint that can do RMA. The modes say what this program is ready to do about
 * memory: register local buffers, use the virtual addresses and the keys that the provider says.
 * FI_MR_ALLOCATED (the pages must exist) holds for a pin by its nature. */
static int net_open(struct net *net, const char *provider)
{
	struct fi_info *hints = fi_allocinfo();
	int err;

	*net = (struct net){0};
	if (!hints)
		return -FI_ENOMEM;
	hints->ep_attr->type = FI_EP_RDM;
	hints->caps = FI_RMA;
	hints->domain_attr->mr_mode =
	    FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	hints->fabric_attr->prov_name = strdup(provider);
	/* loopback, any free port; shm has names of its own */
	err = strcmp(provider, "shm") == 0
		  ? fi_getinfo(FI_VERSION(1, 11), NULL, NULL, 0, hints, &net->info)
		  : fi_getinfo(FI_VERSION(1, 11), "127.0.0.1", NULL, FI_SOURCE, hints, &net->info);
	fi_freeinfo(hints);
	if (!err)
		err = fi_fabric(net->info->fabric_attr, &net->fabric, NULL);
	if (!err)
		err = fi_domain(net->fabric, net->info, &net->domain, NULL);
	if (!err)
		err = fi_endpoint(net->domain, net->info, &net->ep, NULL);
	if (!err)
		err = fi_av_open(net->domain, &(struct fi_av_attr){.type = FI_AV_TABLE}, &net->av,
				 NULL);
	if (!err)
		err = fi_cq_open(net->domain, &(struct fi_cq_attr){.format = FI_CQ_FORMAT_CONTEXT},
				 &net->cq, NULL);
	if (!err)
		err = fi_ep_bind(net->ep, &net->av->fid, 0);
	if (!err)
		err = fi_ep_bind(net->ep, &net->cq->fid, FI_TRANSMIT | FI_RECV);
	return err ? err : fi_enable(net->ep);
}

static void net_close(struct net *net)
{
	must_fi(fi_close(&net->ep->fid), "fi_close: endpoint");
	must_fi(fi_close(&net->cq->fid), "fi_close: completion queue");
	must_fi(fi_close(&net->av->fid), "fi_close: address vector");
	must_fi(fi_close(&net->domain->fid), "fi_close: domain");
	must_fi(fi_close(&net->fabric->fid), "fi_close: fabric");
	fi_freeinfo(net->info);
}

static struct fid_mr *net_register(struct net *net, void *p, size_t len, uint64_t access,
				   uint64_t key)
{
	struct fid_mr *mr;

	must_fi(fi_mr_reg(net->domain, p, len, access, 0, key, 0, &mr, NULL), "fi_mr_reg");
	return mr;
}

/* One completion, if there is one. Asking is also what makes many providers move data at all. */
static int net_poll(struct net *net)
{
	struct fi_cq_entry done;
	ssize_t n = fi_cq_read(net->cq, &done, 1);

	if (n == -FI_EAVAIL) {
		struct fi_cq_err_entry bad = {0};

		fi_cq_readerr(net->cq, &bad, 0);
		must_fi(-bad.err, "an RMA write");
	}
	if (n == -FI_EAGAIN)
		return 0;
	must_fi(n, "fi_cq_read");
	return (int)n;
}

/* ---- the peer: writes when it is told to */

/* FI_DELIVERY_COMPLETE: done means that the bytes are in the owner's memory, not on their way. */
static void peer_write(struct net *net, fi_addr_t to, uint64_t addr, uint64_t key, void *buf,
		       size_t len, void *desc)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct fi_rma_iov rma = {.addr = addr, .len = len, .key = key};
	struct fi_msg_rma msg = {.msg_iov = &iov,
				 .desc = &desc,
				 .iov_count = 1,
				 .addr = to,
				 .rma_iov = &rma,
				 .rma_iov_count = 1};
	ssize_t err;

	do {
		err = fi_writemsg(net->ep, &msg, FI_DELIVERY_COMPLETE | FI_COMPLETION);
		if (err == -FI_EAGAIN)
			net_poll(net);
	} while (err == -FI_EAGAIN);
	must_fi(err, "fi_writemsg");
	while (net_poll(net) == 0)
		;
}

static int peer(const char *provider, int sock)
{
	static unsigned char buf[CHUNK];
	struct target t;
	struct net net;
	struct fid_mr *mr;
	fi_addr_t to;
	unsigned char round;

	must_fi(net_open(&net, provider), "peer: no endpoint");
	mr = net_register(&net, buf, sizeof(buf), FI_WRITE, 1);
	if (recv(sock, &t, sizeof(t), 0) != sizeof(t))
		return 1; /* the owner gave up */
	if (fi_av_insert(net.av, t.name, 1, &to, 0, NULL) != 1)
		must_fi(-FI_EINVAL, "fi_av_insert");
	while (recv(sock, &round, 1, 0) == 1) {
		size_t off = 0;

		for (unsigned i = 0; i < t.regions; i++) {
			for (uint64_t at = 0; at < t.region[i].len; at += CHUNK) {
				size_t n =
				    t.region[i].len - at < CHUNK ? t.region[i].len - at : CHUNK;

				for (size_t k = 0; k < n; k++)
					buf[k] = pattern(round, off++);
				peer_write(&net, to, t.region[i].addr + at, t.region[i].key, buf, n,
					   fi_mr_desc(mr));
			}
		}
		must(send(sock, &round, 1, 0) == 1 ? 0 : -errno, "peer: send");
	}
	must_fi(fi_close(&mr->fid), "fi_close: region");
	net_close(&net);
	return 0;
}

/* ---- the owner of the volume */

static pid_t peer_start(const char *provider, int *sock)
{
	int fd[2];
	char num[16];
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd) ? -errno : 0, "socketpair");
	pid = fork();
	must(pid < 0 ? -errno : 0, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* it may be waiting for the fabric */
		close(fd[0]);
		snprintf(num, sizeof(num), "%d", fd[1]);
		execl("/proc/self/exe", "fabric_rma", "peer", provider, num, (char *)NULL);
		_exit(127);
	}
	close(fd[1]);
	*sock = fd[0];
	return pid;
}

/* Registers what the pin gave, tells the peer. */
static void offer(struct net *net, const struct iovec *iov, size_t iovcnt, struct fid_mr **mr,
		  int sock)
{
	bool virt = net->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR;
	struct target t = {.regions = (uint32_t)iovcnt};
	size_t namelen = sizeof(t.name);

	must_fi(fi_getname(&net->ep->fid, t.name, &namelen), "fi_getname");
	for (size_t i = 0; i < iovcnt; i++) {
		mr[i] = net_register(net, iov[i].iov_base, iov[i].iov_len, FI_REMOTE_WRITE, i + 1);
		t.region[i].addr = virt ? (uint64_t)(uintptr_t)iov[i].iov_base : 0;
		t.region[i].len = iov[i].iov_len;
		t.region[i].key = fi_mr_key(mr[i]);
	}
	must(send(sock, &t, sizeof(t), 0) == sizeof(t) ? 0 : -errno, "send");
}

static void round_begin(int sock, unsigned char n)
{
	must(send(sock, &n, 1, 0) == 1 ? 0 : -errno, "send");
}

/* The provider works while it is asked (FI_PROGRESS_MANUAL): until the peer says that it is done */
static void round_end(struct net *net, int sock)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	unsigned char n;

	do
		net_poll(net);
	while (poll(&p, 1, 0) == 0);
	if (recv(sock, &n, 1, 0) != 1)
		must_fi(-FI_ECONNRESET, "the peer died");
}

/* Is this what the peer wrote in round n, from its byte off on? */
static bool written(const unsigned char *p, size_t len, unsigned n, size_t off)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern(n, off + i))
			return false;
	return true;
}

static bool arrived(const struct iovec *iov, size_t iovcnt, unsigned n)
{
	size_t off = 0;

	for (size_t i = 0; i < iovcnt; off += iov[i++].iov_len)
		if (!written(iov[i].iov_base, iov[i].iov_len, n, off))
			return false;
	return off == PIN_BYTES;
}

static void owner(struct net *net, int sock)
{
	struct hf_pin_options how = {
	    .struct_size = sizeof(how), .flags = HF_PIN_WRITE | HF_PIN_ALLOC, .tag = "fabric_rma"};
	struct iovec iov[REGIONS];
	size_t iovcnt = REGIONS;
	struct fid_mr *mr[REGIONS];
	hf_volume *vol;
	hf_file *inbox, *other;
	hf_pin_id pin;
	static unsigned char back[PIN_BYTES];

	must(hf_mount_memory(&vol, 32 << 20, NULL), "hf_mount_memory");
	must(hf_open(vol, "/inbox", HF_O_RDWR | HF_O_CREAT, 0600, &inbox), "/inbox");
	must(hf_open(vol, "/other", HF_O_RDWR | HF_O_CREAT, 0600, &other), "/other");
	must(hf_ftruncate(inbox, PIN_BYTES), "hf_ftruncate");

	printf("Pinned, then registered with '%s':\n", net->info->fabric_attr->prov_name);
	must(hf_pin(inbox, 0, PIN_BYTES, &how, iov, &iovcnt, &pin), "hf_pin");
	offer(net, iov, iovcnt, mr, sock);
	round_begin(sock, 1);
	round_end(net, sock);
	must(hf_pin_persist(vol, pin, 0, PIN_BYTES), "hf_pin_persist");
	must(hf_pread(inbox, back, PIN_BYTES, 0), "hf_pread");
	expect(written(back, PIN_BYTES, 1, 0), "what the peer wrote is the file's content");

	puts("Unlinked, closed, the volume filled by another file; the peer writes again:");
	must(hf_unlink(vol, "/inbox"), "hf_unlink");
	must(hf_close(&inbox), "hf_close");
	expect(fill(other) > 0, "the other file took what was free, up to -ENOSPC");
	expect(busy_bytes(vol) >= PIN_BYTES,
	       "the pinned blocks are busy: in no file, not handed out");
	round_begin(sock, 2);
	round_end(net, sock);
	expect(arrived(iov, iovcnt, 2), "what the peer wrote is in the pinned pages");
	expect(untouched(other), "the other file has seen nothing of it");

	puts("Deregistered, then unpinned:");
	for (size_t i = 0; i < iovcnt; i++)
		must_fi(fi_close(&mr[i]->fid), "fi_close: region");
	must(hf_unpin(vol, pin), "hf_unpin");
	expect(busy_bytes(vol) == 0, "nothing is busy any more");
	expect(fill(other) >= PIN_BYTES, "the other file can grow by what was busy");
	must(hf_close(&other), "hf_close");
	must(hf_unmount(&vol), "hf_unmount");
}

int main(int argc, char **argv)
{
	const char *provider = argc > 1 ? argv[1] : "tcp";
	struct net net;
	int sock, err, status;
	pid_t pid;

	if (argc == 4 && strcmp(argv[1], "peer") == 0)
		return peer(argv[2], atoi(argv[3]));
	pid = peer_start(provider, &sock);
	err = net_open(&net, provider);
	if (err) {
		printf("skipped: libfabric's '%s' does not work here: %s\n", provider,
		       fi_strerror(-err));
		return SKIPPED;
	}
	owner(&net, sock);
	close(sock); /* the peer sees it and ends */
	must(waitpid(pid, &status, 0) < 0 ? -errno : 0, "waitpid");
	expect(status == 0, "the peer has ended well");
	net_close(&net);
	return 0;
}
