"""Sets of faces: one form for all, the rendered sets, and readers for photographs."""

from ifr.datasets.face_set import FaceSet, load_set, write_record
