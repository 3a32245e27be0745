/* Bad media that plain code runs into.
 *
 * File bytes go through guarded copies, which fail; metadata is read where it lies, and a load of a bad page there would end the
 * process. Instead the SIGBUS handler puts a page of ones (0xff) in place of the bad one, notes it, and the load goes on. The
 * ones are no structure of the format: as a map entry they are of no kind, as a checksum or a check they are wrong, as a number they
 * are out of range; an allocation line of ones has no free block, a bitmap of inodes no free number. So what was read is refused by
 * its verifier, or is of a structure that the reader holds and looks at again (pm_lost). From the first such page on:
 *
 *	- every fence fails (pm_fence): what was stored to such a page is nowhere, and no change is told to be durable;
 *	- no record is written (the journal looks before it takes a number): one could have been made of ones;
 *	- guarded copies of such a page fail.
 *
 * Order: the note is made before the page is replaced. Who reads ones and looks afterwards finds the note.
 *
 * Not replaced is what the program was given the address of (pins): there the program's own touch gets the SIGBUS. */
#ifndef HF_MEDIA_POISON_H
#define HF_MEDIA_POISON_H

#include "media/pm.h"
#include <signal.h>

/* From pm_open to pm_close. */
int poison_register(struct pm *pm);
void poison_unregister(struct pm *pm);
/* In the handler of SIGBUS, wherever it came from: sees whether a device is gone. Async-signal-safe. */
void poison_look(const siginfo_t *info);
/* In the handler of SIGBUS, outside guarded copies: true, the access may be tried again. Else the address in it is the program's own.
 * Async-signal-safe. */
bool poison_fault(siginfo_t *info);
/* True if the address lies in the map of an open volume. Async-signal-safe. */
bool poison_knows(const void *addr);

#endif
