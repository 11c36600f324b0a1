"""Whole guests: from `lodge create` until they answer over SSH; and building their image."""

from measure import Row, Sample


def built(place, image):
    """Milliseconds that building @image took, in the store that all themes share."""
    store = place.image_store()
    if (store.folder / "images" / image).exists():
        return None
    return store.lodge_ms("image", "build", image)


def answers(place, image, options):
    store = place.image_store()
    sample = Sample()
    for i in range(options.runs + 1):
        took = store.lodge_ms("create", "guest", "--os", image, "--cold")
        store.lodge("delete", "guest", "--yes", "--force")
        if i > 0:
            sample.add(took)
    return sample


def measure_tiny(place, _, options):
    built(place, "tiny")
    return [Row("tiny: create until SSH answers", 5000, answers(place, "tiny", options))]


def measure_debian(place, _, options):
    place.debian_ms = built(place, "debian-12")
    return [Row("debian-12: create until SSH answers", 10000,
                answers(place, "debian-12", options))]


def measure_build(place, _, options):
    store = place.image_store()
    sample = Sample()
    if getattr(place, "debian_ms", None):
        sample.add(place.debian_ms)
    while len(sample.values) < options.builds:
        if (store.folder / "images" / "debian-12").exists():
            store.lodge("image", "delete", "debian-12", "--yes")
        sample.add(built(place, "debian-12"))
    return [Row("debian-12 image built from packages", 60000, sample)]
