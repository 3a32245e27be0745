/* What a program does with a volume whose image is hostile: single operations, and a walk over all that is there. */
#ifndef HF_FUZZ_OPS_H
#define HF_FUZZ_OPS_H

#include "edit.h"

enum { FUZZ_OPS = 36, FUZZ_TEXT = 512 };

/* 0, or the last of the errors that say that the volume is damaged: -EUCLEAN, -EBADMSG. */
int fuzz_op(hf_volume *v, const struct fuzz_step *s);
/* text: the sentence of the first. */
int fuzz_walk(hf_volume *v, char text[FUZZ_TEXT]);

#endif
