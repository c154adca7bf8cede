"""stub"""


def render(visit):
    return "<html>"
