from ifr.common.files import code_hash


def test_comments_docstrings_and_layout_do_not_count_but_code_does(tmp_path):
    def hashed(text):
        path = tmp_path / "a.py"
        path.write_text(text)
        return code_hash([path])

    plain = hashed('def f(x):\n    """Double."""\n    return 2 * x\n')
    assert plain == hashed(
        'def f(x):\n    """Twice."""\n    # a comment\n    return (2 *\n        x)\n'
    )
    assert plain != hashed('def f(x):\n    """Double."""\n    return 3 * x\n')
