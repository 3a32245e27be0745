/* HF_TSAN, HF_ASAN: is this compiled for the sanitizer? gcc and clang say it in different ways. */
#ifndef HF_BASE_SANITIZE_H
#define HF_BASE_SANITIZE_H

#ifndef __has_feature
#define __has_feature(x) 0
#endif

#ifndef HF_TSAN
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define HF_TSAN 1
#else
#define HF_TSAN 0
#endif
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define HF_ASAN 1
#else
#define HF_ASAN 0
#endif

#endif
