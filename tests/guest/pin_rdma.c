/* RDMA: the pinned range is registered with the first verbs device that there is (soft-RoCE will
 * do), and another process writes into it by RDMA WRITE. The device does the storing; this process
 * takes no part in it. */
#include "peer.h"
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What one end tells the other. */
struct end {
	union ibv_gid gid;
	uint32_t qpn, parts;
	uint64_t addr[PIN_PARTS];
	uint32_t rkey[PIN_PARTS], len[PIN_PARTS];
};

struct verbs {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	int gid_index;
	struct end own;
};

static struct verbs v; /* each process has one */
static struct end other;
static struct ibv_mr *mr[PIN_PARTS], *source;
static int sock;

/* The address of the port's IPv4, which a route leads to. */
static int find_gid(void)
{
	static const uint8_t ipv4[12] = {[10] = 0xff, [11] = 0xff};
	union ibv_gid gid;

	for (int i = 0; i < 16 && ibv_query_gid(v.ctx, 1, i, &gid) == 0; i++)
		if (memcmp(gid.raw, ipv4, sizeof(ipv4)) == 0) {
			v.gid_index = i;
			v.own.gid = gid;
			return 0;
		}
	return -EADDRNOTAVAIL;
}

static int verbs_open(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_qp_init_attr init = {
	    .qp_type = IBV_QPT_RC,
	    .cap = {
		.max_send_wr = PIN_PARTS, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1}};

	if (!list || !list[0])
		return -ENODEV;
	v.ctx = ibv_open_device(list[0]);
	ibv_free_device_list(list);
	if (!v.ctx)
		return -ENODEV;
	v.pd = ibv_alloc_pd(v.ctx);
	v.cq = ibv_create_cq(v.ctx, PIN_PARTS, NULL, NULL, 0);
	if (!v.pd || !v.cq)
		return -errno;
	init.send_cq = init.recv_cq = v.cq;
	v.qp = ibv_create_qp(v.pd, &init);
	if (!v.qp)
		return -errno;
	v.own.qpn = v.qp->qp_num;
	return find_gid();
}

static int connect_to(const struct end *e)
{
	struct ibv_qp_attr init = {
	    .qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = IBV_ACCESS_REMOTE_WRITE};
	struct ibv_qp_attr rtr = {
	    .qp_state = IBV_QPS_RTR,
	    .path_mtu = IBV_MTU_1024,
	    .dest_qp_num = e->qpn,
	    .max_dest_rd_atomic = 1,
	    .min_rnr_timer = 12,
	    .ah_attr = {
		.is_global = 1,
		.port_num = 1,
		.grh = {.dgid = e->gid, .sgid_index = (uint8_t)v.gid_index, .hop_limit = 64}}};
	struct ibv_qp_attr rts = {.qp_state = IBV_QPS_RTS,
				  .timeout = 18,
				  .retry_cnt = 7,
				  .rnr_retry = 7,
				  .max_rd_atomic = 1};
	int err = ibv_modify_qp(
	    v.qp, &init, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);

	if (!err)
		err = ibv_modify_qp(v.qp, &rtr,
				    IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
					IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
					IBV_QP_MIN_RNR_TIMER);
	if (!err)
		err = ibv_modify_qp(v.qp, &rts,
				    IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
					IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
	return -err;
}

/* ---- the other process: no volume, no file, only addresses and keys */

static int attach_there(int s)
{
	int err;

	if (recv(s, &other, sizeof(other), 0) != sizeof(other))
		return -EPROTO;
	err = verbs_open();
	if (!err)
		err = connect_to(&other);
	if (!err) {
		source = ibv_reg_mr(v.pd, pin_bytes(0), PIN_BYTES, IBV_ACCESS_LOCAL_WRITE);
		err = source ? 0 : -errno;
	}
	if (!err && send(s, &v.own, sizeof(v.own), 0) != sizeof(v.own))
		err = -errno;
	return err;
}

static int post(size_t i, size_t off)
{
	struct ibv_sge sge = {.addr = (uint64_t)(uintptr_t)source->addr + off,
			      .length = other.len[i],
			      .lkey = source->lkey};
	struct ibv_send_wr *bad,
	    wr = {.wr_id = i,
		  .sg_list = &sge,
		  .num_sge = 1,
		  .opcode = IBV_WR_RDMA_WRITE,
		  .send_flags = IBV_SEND_SIGNALED,
		  .wr.rdma = {.remote_addr = other.addr[i], .rkey = other.rkey[i]}};

	return -ibv_post_send(v.qp, &wr, &bad);
}

static int write_there(unsigned round)
{
	struct ibv_wc wc;
	size_t off = 0;
	int n, err = 0;

	pin_bytes(round); /* the source's bytes */
	for (size_t i = 0; !err && i < other.parts; off += other.len[i++])
		err = post(i, off);
	for (size_t i = 0; !err && i < other.parts; i += (size_t)n) {
		n = ibv_poll_cq(v.cq, 1, &wc);
		if (n < 0 || (n && wc.status != IBV_WC_SUCCESS)) {
			fprintf(stderr, "rdma write: %s\n",
				n < 0 ? "poll" : ibv_wc_status_str(wc.status));
			err = -EIO;
		}
	}
	return err;
}

/* ---- the owner of the volume */

static int prepare(const char **why)
{
	static const struct peer peer = {.attach = attach_there, .write = write_there};

	*why = "an RDMA device with an IPv4 address (modprobe rdma_rxe; rdma link add rxe0 type "
	       "rxe netdev DEV)";
	sock = peer_fork(&peer);
	return verbs_open();
}

static int attach(const struct pin_target *t)
{
	struct end *own = &v.own;
	int err;

	for (size_t i = 0; i < t->parts; i++) {
		mr[i] = ibv_reg_mr(v.pd, t->iov[i].iov_base, t->iov[i].iov_len,
				   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
		if (!mr[i])
			return -errno;
		own->addr[i] = (uint64_t)(uintptr_t)t->iov[i].iov_base;
		own->len[i] = (uint32_t)t->iov[i].iov_len;
		own->rkey[i] = mr[i]->rkey;
	}
	own->parts = (uint32_t)t->parts;
	peer_attach();
	pin_must(send(sock, own, sizeof(*own), 0) == sizeof(*own) ? 0 : -errno, "send");
	pin_must(recv(sock, &other, sizeof(other), 0) == sizeof(other) ? 0 : -EPROTO,
		 "the peer's address");
	err = peer_answer();
	pin_must(err, "the peer");
	pin_must(connect_to(&other), "ibv_modify_qp");
	return 0;
}

static void detach(void)
{
	ibv_destroy_qp(v.qp);
	for (size_t i = 0; i < v.own.parts; i++)
		pin_must(-ibv_dereg_mr(mr[i]), "ibv_dereg_mr");
	close(sock);
}

int main(int argc, char **argv)
{
	static const struct pinner p = {.name = "rdma",
					.call = "ibv_reg_mr",
					.prepare = prepare,
					.attach = attach,
					.start = peer_start,
					.finish = peer_finish,
					.detach = detach};

	return pinner_main(argc, argv, &p);
}
