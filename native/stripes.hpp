// Stripes: the parts of a table, each with a lock and a sequence counter.
#pragma once

#include <atomic>
#include <utility>

#include "batch_plan.hpp"
#include "layout.hpp"
#include "stripe_lock.hpp"

namespace carls {

class Stripes {
public:
    explicit Stripes(StripeHeader *headers) : headers_(headers) {}

    // Holds a stripe for reading. Holds nothing if another writes there and `wait` is false.
    class ReadGuard {
    public:
        ReadGuard() = default;
        ReadGuard(Stripes &stripes, uint32_t stripe, bool wait) : lock_(&stripes.locks_[stripe]) {
            if (wait) {
                lock_->lock_shared();
            } else if (!lock_->try_lock_shared()) {
                lock_ = nullptr;
            }
        }
        ReadGuard(ReadGuard &&other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
        ReadGuard &operator=(ReadGuard &&other) noexcept {
            std::swap(lock_, other.lock_);
            return *this;
        }
        ~ReadGuard() { release(); }
        bool holds() const { return lock_ != nullptr; }
        void release() {
            if (lock_ != nullptr) std::exchange(lock_, nullptr)->unlock();
        }

    private:
        StripeLock *lock_ = nullptr;
    };

    // Holds a stripe for writing; its sequence is odd meanwhile. Holds nothing if another is there
    // and `wait` is false.
    class WriteGuard {
    public:
        WriteGuard(Stripes &stripes, uint32_t stripe, bool wait)
            : lock_(stripes.locks_[stripe]), sequence_(stripes.headers_[stripe].sequence) {
            if (wait) lock_.lock();
            holds_ = wait || lock_.try_lock();
            if (!holds_) return;
            sequence_.fetch_add(1, std::memory_order_relaxed);
            std::atomic_thread_fence(std::memory_order_release);
        }
        ~WriteGuard() {
            if (!holds_) return;
            sequence_.fetch_add(1, std::memory_order_release);
            lock_.unlock();
        }
        WriteGuard(const WriteGuard &) = delete;
        WriteGuard &operator=(const WriteGuard &) = delete;
        bool holds() const { return holds_; }

    private:
        StripeLock &lock_;
        std::atomic<uint64_t> &sequence_;
        bool holds_;
    };

    // Calls work(stripe) for the stripes of a batch, holding each, after prepare(stripe), holding
    // none: those first that are free. A thread that has lost its core may hold any of them, and
    // waiting for one such after the other would add up.
    template <class Guard, class Prepare, class Work>
    void each(StripeList stripes, Prepare prepare, Work work) {
        for (bool wait = false; stripes.count != 0; wait = true) {
            stripes.keep([&](uint32_t stripe) {
                prepare(stripe);
                const Guard guard(*this, stripe, wait);
                if (!guard.holds()) return true;
                wait = false;
                work(stripe);
                return false;
            });
        }
    }
    template <class Guard, class Work>
    void each(const StripeList &stripes, Work work) {
        each<Guard>(stripes, [](uint32_t) {}, work);
    }

    // Until those are done who were writing when this was called.
    void wait_for_writers() {
        for (uint32_t s = 0; s < kStripes; ++s) const WriteGuard guard(*this, s, true);
    }

private:
    StripeHeader *const headers_;
    StripeLock locks_[kStripes];
};

}  // namespace carls
