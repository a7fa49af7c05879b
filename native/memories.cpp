#include "memories.hpp"

#include <nanobind/stl/string.h>

#include <string>

#include "arrays.hpp"
#include "gaussian_memory.hpp"
#include "results.hpp"

namespace carls {

namespace {

using Points = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

MemoryMode mode_of(const std::string &name) {
    if (name == "read") return MemoryMode::Read;
    if (name == "update") return MemoryMode::Update;
    if (name == "grow") return MemoryMode::Grow;
    throw nb::value_error(("unknown mode " + name).c_str());
}

nb::tuple lookup(GaussianMemory &self, const Points &points, const std::string &name) {
    const size_t n = points.shape(0), dim = self.policy().dim;
    require(points.shape(1) == dim, "expected points (n, dim)");
    const MemoryMode mode = mode_of(name);
    Result<int64_t> cluster({n});
    Result<float> mean({n, dim}), variance({n, dim}), distance({n});
    {
        const nb::gil_scoped_release release;
        self.lookup(points.data(), n, mode, {cluster.data, mean.data, variance.data, distance.data});
    }
    return nb::make_tuple(cluster.array, mean.array, variance.array, distance.array);
}

nb::tuple tuple_of(const MemoryCounts &counts) {
    return nb::make_tuple(counts.calls, counts.points, counts.refused_bootstrap, counts.refused_full);
}

nb::tuple save(GaussianMemory &self) {
    std::vector<float> points;
    std::vector<int64_t> cluster;
    MemoryCounts counts;
    {
        const nb::gil_scoped_release release;
        self.save(points, cluster, counts);
    }
    return nb::make_tuple(to_numpy(std::move(points)), to_numpy(std::move(cluster)), tuple_of(counts));
}

// Clusters ascending from 0 without gaps, each with at most a ring of points.
void require_clusters(const MemoryPolicy &policy, const Vector<int64_t> &cluster) {
    int64_t last = -1;
    uint32_t filled = 0;
    for (size_t i = 0; i < cluster.shape(0); ++i) {
        const int64_t c = cluster.data()[i];
        require(c >= 0 && (c == last || c == last + 1), "expected clusters ascending from 0 without gaps");
        filled = c == last ? filled + 1 : 1;
        require(filled <= policy.buffer_size, "expected at most buffer_size points in a cluster");
        last = c;
    }
    require(last < static_cast<int64_t>(policy.max_clusters), "expected at most max_clusters");
}

}  // namespace

void bind_memories(nb::module_ &m) {
    nb::class_<GaussianMemory>(m, "GaussianMemory")
        .def(
            "__init__",
            [](GaussianMemory *self, uint32_t dim, uint32_t buffer_size, double distance_threshold,
               size_t max_clusters, uint64_t bootstrap_steps, double min_variance, bool gaussian) {
                require(dim > 0 && buffer_size > 0 && max_clusters > 0, "expected sizes of at least 1");
                new (self) GaussianMemory(MemoryPolicy{dim, buffer_size, distance_threshold, max_clusters,
                                                       bootstrap_steps, min_variance, gaussian});
            },
            nb::arg("dim"), nb::arg("buffer_size"), nb::arg("distance_threshold"), nb::arg("max_clusters"),
            nb::arg("bootstrap_steps"), nb::arg("min_variance"), nb::arg("gaussian"))
        .def("lookup", &lookup, nb::arg("points"), nb::arg("mode"))
        .def("save", &save)
        .def(
            "load",
            [](GaussianMemory &self, const Points &points, const Vector<int64_t> &cluster, uint64_t calls,
               uint64_t absorbed, uint64_t refused_bootstrap, uint64_t refused_full) {
                require(points.shape(0) == cluster.shape(0) && points.shape(1) == self.policy().dim,
                        "expected points (n, dim) and the cluster of each");
                require_clusters(self.policy(), cluster);
                const nb::gil_scoped_release release;
                self.load(points.data(), cluster.data(), cluster.shape(0),
                          MemoryCounts{calls, absorbed, refused_bootstrap, refused_full});
            },
            nb::arg("points"), nb::arg("cluster"), nb::arg("calls"), nb::arg("absorbed"),
            nb::arg("refused_bootstrap"), nb::arg("refused_full"))
        .def("counts", [](GaussianMemory &self) { return tuple_of(self.counts()); })
        .def("__len__", [](GaussianMemory &self) { return self.size(); })
        .def_prop_ro("nbytes", [](GaussianMemory &self) { return self.bytes(); });
}

}  // namespace carls
