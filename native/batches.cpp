#include "batches.hpp"

#include <nanobind/stl/unique_ptr.h>

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "arrow.hpp"

namespace carls {

namespace nb = nanobind;

namespace {

// The arrays of a batch on their way to Arrow, and the Python memory that they lie in.
struct Exported {
    struct Node {
        ArrowArray array{};
        const void *buffers[3] = {};
        ArrowArray *children[1] = {};
    };

    std::atomic<int64_t> held{0};  // nodes that Arrow has not released
    std::vector<std::unique_ptr<Node>> nodes;
    std::vector<std::unique_ptr<Py_buffer>> views;
    std::vector<ArrowArray *> columns;
    const void *no_validity[1] = {};

    ~Exported() {
        // Arrays of Arrow's own in a batch that was never finished.
        for (ArrowArray *column : columns) {
            if (column->release != nullptr && column->release != &release) column->release(column);
        }
        for (const auto &view : views) PyBuffer_Release(view.get());
    }

    Node &add(int64_t length, int64_t n_buffers) {
        nodes.push_back(std::make_unique<Node>());
        Node &node = *nodes.back();
        node.array.length = length;
        node.array.n_buffers = n_buffers;
        node.array.buffers = node.buffers;
        own(node.array);
        return node;
    }

    void own(ArrowArray &array) {
        array.release = &release;
        array.private_data = this;
        ++held;
    }

    // The memory of a contiguous Python array.
    const Py_buffer &view(const nb::handle &array) {
        auto view = std::make_unique<Py_buffer>();
        if (PyObject_GetBuffer(array.ptr(), view.get(), PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
        views.push_back(std::move(view));
        return *views.back();
    }

    static void release(ArrowArray *array) {
        for (int64_t i = 0; i < array->n_children; ++i) {
            if (array->children[i]->release != nullptr) array->children[i]->release(array->children[i]);
        }
        auto *self = static_cast<Exported *>(array->private_data);
        array->release = nullptr;
        if (--self->held == 0) self->retire();
    }

    // gRPC's own threads release what was sent. Waiting for the GIL there would hold up the
    // network, so the next batch frees what was left.
    void retire() {
        next = retired.load(std::memory_order_relaxed);
        while (!retired.compare_exchange_weak(next, this, std::memory_order_release)) {
        }
    }

    // Frees what was retired; under the GIL.
    static void free_retired() {
        for (Exported *last = retired.exchange(nullptr, std::memory_order_acquire); last != nullptr;) {
            delete std::exchange(last, last->next);
        }
    }

    Exported *next = nullptr;
    static inline std::atomic<Exported *> retired{nullptr};
};

ArrowArray *export_column(Exported &exported, const nb::handle &value) {
    if (nb::isinstance<nb::capsule>(value)) {  // an array of Arrow's own: it moves into the batch
        auto *array = static_cast<ArrowArray *>(nb::borrow<nb::capsule>(value).data("arrow_array"));
        Exported::Node &node = exported.add(0, 0);
        --exported.held;
        node.array = *array;
        array->release = nullptr;
        return &node.array;
    }
    if (nb::isinstance<nb::tuple>(value)) {
        const nb::tuple pair = nb::borrow<nb::tuple>(value);
        const Py_buffer &offsets = exported.view(pair[0]), &data = exported.view(pair[1]);
        Exported::Node &node = exported.add(offsets.shape[0] - 1, 3);
        node.buffers[1] = offsets.buf;
        node.buffers[2] = data.buf;
        return &node.array;
    }
    const Py_buffer &view = exported.view(value);
    if (view.ndim == 1) {
        Exported::Node &node = exported.add(view.shape[0], 2);
        node.buffers[1] = view.buf;
        return &node.array;
    }
    if (view.ndim != 2) throw nb::value_error("expected arrays of one or two dimensions");
    Exported::Node &node = exported.add(view.shape[0], 1);
    Exported::Node &items = exported.add(view.shape[0] * view.shape[1], 2);
    items.buffers[1] = view.buf;
    node.children[0] = &items.array;
    node.array.children = node.children;
    node.array.n_children = 1;
    return &node.array;
}

// A batch on its way to Arrow; whoever imports it from its address takes it.
class Batch {
public:
    explicit Batch(std::unique_ptr<Exported> exported) {
        array_.length = exported->columns.empty() ? 0 : exported->columns[0]->length;
        array_.n_buffers = 1;
        array_.buffers = exported->no_validity;
        array_.n_children = static_cast<int64_t>(exported->columns.size());
        array_.children = exported->columns.data();
        exported->own(array_);
        exported.release();
    }
    ~Batch() {
        if (array_.release != nullptr) array_.release(&array_);  // nobody took it
    }
    Batch(const Batch &) = delete;
    Batch &operator=(const Batch &) = delete;
    uintptr_t address() const { return reinterpret_cast<uintptr_t>(&array_); }

private:
    ArrowArray array_{};
};

// A batch of the columns. A column is a contiguous array of one dimension, or of two (n, width); a
// pair of offsets and data; or the capsule of an Arrow array.
std::unique_ptr<Batch> export_columns(const nb::list &values) {
    Exported::free_retired();
    auto exported = std::make_unique<Exported>();
    for (const nb::handle value : values) {
        exported->columns.push_back(export_column(*exported, value));
        if (exported->columns.back()->length != exported->columns[0]->length) {
            throw nb::value_error("expected columns of one length");
        }
    }
    return std::make_unique<Batch>(std::move(exported));
}

}  // namespace

void bind_batches(nb::module_ &module) {
    nb::class_<Batch>(module, "Batch").def_prop_ro("address", &Batch::address);
    module.def("export_columns", &export_columns, nb::arg("values"));
}

}  // namespace carls
