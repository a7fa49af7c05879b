// Counter-based random numbers that are the same on every machine: Philox and an exact normal quantile.
#pragma once

#include <cmath>
#include <cstdint>

namespace carls {

// Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// Gives the stream of numpy.random.Philox(key=[key0, key1]).random_raw(): blocks count from 1.
class Philox {
public:
    Philox(uint64_t key0, uint64_t key1) : key_{key0, key1} {}

    uint64_t next() {
        if (lane_ == 4) {
            block();
            lane_ = 0;
        }
        return out_[lane_++];
    }

private:
    void block() {
        ++counter_;
        uint64_t c[4] = {counter_, 0, 0, 0}, k0 = key_[0], k1 = key_[1];
        for (int round = 0; round < 10; ++round) {
            const unsigned __int128 a = static_cast<unsigned __int128>(0xD2E7470EE14C6C93ULL) * c[0];
            const unsigned __int128 b = static_cast<unsigned __int128>(0xCA5A826395121157ULL) * c[2];
            const uint64_t c1 = c[1], c3 = c[3];
            c[0] = static_cast<uint64_t>(b >> 64) ^ c1 ^ k0;
            c[1] = static_cast<uint64_t>(b);
            c[2] = static_cast<uint64_t>(a >> 64) ^ c3 ^ k1;
            c[3] = static_cast<uint64_t>(a);
            k0 += 0x9E3779B97F4A7C15ULL;
            k1 += 0xBB67AE8584CAA73BULL;
        }
        for (int i = 0; i < 4; ++i) out_[i] = c[i];
    }

    uint64_t key_[2], counter_ = 0, out_[4] = {};
    int lane_ = 4;
};

// Natural logarithm by basic operations only, so that no libm's last digit can differ.
// For x > 0: x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 artanh((m - 1) / (m + 1)).
inline double portable_log(double x) {
    int e;
    double m = std::frexp(x, &e);
    if (m < 0.70710678118654752440) {
        m *= 2;
        --e;
    }
    const double f = (m - 1) / (m + 1), s = f * f;
    double sum = 0;
    for (int k = 25; k >= 1; k -= 2) sum = sum * s + 1.0 / k;
    return 2 * f * sum + e * 0.69314718055994530942;
}

template <int N>
inline double polynomial(const double (&c)[N], double x) {
    double sum = c[N - 1];
    for (int i = N - 2; i >= 0; --i) sum = sum * x + c[i];
    return sum;
}

// Quantile of the standard normal distribution: algorithm AS 241, PPND16 (Wichura, Applied
// Statistics 37, 1988), about 16 digits; p in (0, 1).
inline double normal_quantile(double p) {
    static constexpr double a[] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                   1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                   3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static constexpr double b[] = {1.0,
                                   4.2313330701600911252e+1,
                                   6.8718700749205790830e+2,
                                   5.3941960214247511077e+3,
                                   2.1213794301586595867e+4,
                                   3.9307895800092710610e+4,
                                   2.8729085735721942674e+4,
                                   5.2264952788528545610e+3};
    static constexpr double c[] = {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
                                   3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
                                   2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static constexpr double d[] = {1.0,
                                   2.05319162663775882187e0,
                                   1.67638483018380384940e0,
                                   6.89767334985100004550e-1,
                                   1.48103976427480074590e-1,
                                   1.51986665636164571966e-2,
                                   5.47593808499534494600e-4,
                                   1.05075007164441684324e-9};
    static constexpr double e[] = {6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                                   2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                   2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static constexpr double f[] = {1.0,
                                   5.99832206555887937690e-1,
                                   1.36929880922735805310e-1,
                                   1.48753612908506148525e-2,
                                   7.86869131145613259100e-4,
                                   1.84631831751005468180e-5,
                                   1.42151175831644588870e-7,
                                   2.04426310338993978564e-15};
    const double q = p - 0.5;
    if (std::fabs(q) <= 0.425) {
        const double r = 0.180625 - q * q;
        return q * polynomial(a, r) / polynomial(b, r);
    }
    double r = std::sqrt(-portable_log(q < 0 ? p : 1 - p));
    double value;
    if (r <= 5) {
        r -= 1.6;
        value = polynomial(c, r) / polynomial(d, r);
    } else {
        r -= 5;
        value = polynomial(e, r) / polynomial(f, r);
    }
    return q < 0 ? -value : value;
}

}  // namespace carls
