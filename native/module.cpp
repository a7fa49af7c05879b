// Python's view of the core. Arguments are checked here for what memory safety needs; what they
// mean is checked in Python, where errors have better words.
#include <nanobind/nanobind.h>

#include "batches.hpp"
#include "candidates.hpp"
#include "columns.hpp"
#include "embeddings.hpp"
#include "encode.hpp"
#include "errors.hpp"
#include "features.hpp"
#include "halves.hpp"
#include "memories.hpp"
#include "random.hpp"
#include "readers.hpp"
#include "searches.hpp"

namespace nb = nanobind;
using namespace carls;

NB_MODULE(_core, m) {
    m.doc() = "The core of carls: keyed rows with optimizers inside. Use carls.bank instead.";
    // At exit a module that is still alive, say in an autograd graph, keeps its table: no leak.
    nb::set_leak_warnings(false);
    bind_keys(m);
    bind_columns(m);
    bind_batches(m);
    bind_candidates(m);
    bind_memories(m);
    bind_halves(m);
    bind_readers(m);
    nb::class_<Embeddings> embeddings = bind_embeddings(m);
    bind_features(m);
    bind_searches(m, embeddings);

    const nb::object full = nb::exception<TableFull>(m, "TableFull");
    const nb::object large = nb::exception<BatchTooLarge>(m, "BatchTooLarge");
    m.def("normal_quantile", &normal_quantile, nb::arg("p"));
}
